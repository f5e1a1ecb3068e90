// The settings of jemalloc, the server's allocator: a call of one row allocates some thirty times,
// which takes it half the time that the C library needs, and it gives memory back by itself.

extern "C" {

// jemalloc reads it when the process starts. Memory that has been free for about a second goes back
// to the system, by threads that do nothing else, and at once, not when the system wants it: after
// a burst the server holds no more than before.
extern const char* malloc_conf;
const char* malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0";

}  // extern "C"
