// pool.h - threads that share the items of one loop. They spin for a moment after it, then sleep.
//
// Items are taken from one atomic counter, so a thread that the kernel stops for a while does not hold up the
// others. A worker that comes too late is not waited for: the caller closes the loop when its items are gone and
// waits only for those who entered. The pool does not know what an item is. It must never see an exception.
//
// One pool per process, made at first use and never destroyed: at exit its threads sleep and die with the
// process. A child of fork() has none of them, so it makes its own (pool() looks at the process id).
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <type_traits>

namespace haina {

class Pool {
  public:
    // Calls work(item) for item = 0 .. items-1 on up to `threads` threads, the caller among them, and returns when
    // all are done. If another caller is using the pool, this one does all of its work alone.
    template <class Work>
    void run(int threads, int64_t items, Work&& work) {
        run(threads, items, [](void* w, int64_t item) { (*static_cast<std::remove_reference_t<Work>*>(w))(item); },
            &work);
    }

  private:
    void run(int threads, int64_t items, void (*call)(void*, int64_t), void* work);
    void grow(int workers);
    void serve();
    bool offers(uint64_t state, uint64_t last_loop) const;
    bool enter(uint64_t* last_loop);
    void take_items();

    // The loop on offer: bit 63 is set while it is open, bits 32..62 count loops, bits 0..31 the workers inside.
    std::atomic<uint64_t> state_{0};
    std::atomic<int64_t> next_{0};
    std::atomic<uint32_t> left_{0};    // workers who entered this loop and have left it
    std::atomic<int> sleepers_{0};
    std::mutex sleep_;
    std::condition_variable wake_;

    std::mutex owner_;                 // held by the caller whose loop it is; guards what follows
    int workers_ = 0;
    std::atomic<uint32_t> room_{0};    // how many workers may enter
    int64_t items_ = 0;
    void (*call_)(void*, int64_t) = nullptr;
    void* work_ = nullptr;
};

// The pool of this process. Throws std::bad_alloc.
Pool& pool();

}  // namespace haina
