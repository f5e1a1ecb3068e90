// The settings of jemalloc, the server's allocator: a call of one row allocates some thirty times,
// which takes it half the time that the C library needs, and it gives memory back by itself.

extern "C" {

// jemalloc reads it when the process starts. Its background threads offer pages that have been free
// for about a second to the system (MADV_FREE), and give them up a second later. After a burst the
// server therefore holds no more than before, and the next large request takes fewer page faults.
extern const char* malloc_conf;
const char* malloc_conf = "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:1000";

}  // extern "C"
