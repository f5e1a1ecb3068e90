// The settings of jemalloc, the server's allocator. A call of one row allocates some thirty times,
// for which jemalloc needs half the time of the C library, and it gives memory back by itself.

extern "C" {

// jemalloc reads this when the process starts. Its background threads offer pages that have been
// free for about a second to the system (MADV_FREE), and give them up a second later. So after a
// burst the server holds no more memory than before, and a large request soon after another takes
// fewer page faults.
//
// lg_extent_max_active_fit lets a small allocation take part of free memory up to 2^20 times its
// size; jemalloc's own limit is 2^6 times. gRPC receives a message in pieces of 64 KB, and the
// freed pieces of a large message merge into blocks of megabytes: with jemalloc's limit the next
// message would take new pages while those blocks stay free.
extern const char* malloc_conf;
const char* malloc_conf =
    "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:1000,lg_extent_max_active_fit:20";

}  // extern "C"
