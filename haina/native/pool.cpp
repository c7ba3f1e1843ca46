// pool.cpp - see pool.h.
#include "pool.h"

#include <system_error>
#include <thread>

#if defined(_WIN32)
#include <process.h>
#define getpid _getpid
#else
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace haina {
namespace {

constexpr uint64_t OPEN = uint64_t(1) << 63;
constexpr uint64_t LOOP = uint64_t(1) << 32;   // the unit of the loop counter
constexpr uint64_t INSIDE = LOOP - 1;          // mask of the worker count
constexpr int SPINS = 4000;                    // 50 to 150 microseconds: longer than a pause within a forward

void relax() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

}  // namespace

Pool& pool() {
    static std::mutex making;                  // a fork while it is held would leave it locked in the child,
    static std::atomic<Pool*> made{nullptr};   // so it is taken only when there is a pool to make
    static std::atomic<int> owner{0};
    const int process = int(getpid());
    if (owner.load(std::memory_order_acquire) != process) {
        std::lock_guard<std::mutex> lock(making);
        if (owner.load() != process) {
            made = new Pool;
            owner.store(process, std::memory_order_release);
        }
    }
    return *made;
}

void Pool::run(int threads, int64_t items, void (*call)(void*, int64_t), void* work) {
    std::unique_lock<std::mutex> mine(owner_, std::defer_lock);
    if (threads < 2 || items < 2 || !mine.try_lock()) {
        for (int64_t i = 0; i < items; i++) call(work, i);
        return;
    }
    grow(threads - 1);
    call_ = call, work_ = work, items_ = items;
    room_ = uint32_t(threads - 1);
    next_ = 0, left_ = 0;
    const uint64_t loop = (state_.load() & ~(OPEN | INSIDE)) + LOOP;
    state_ = (loop & ~OPEN) | OPEN;
    if (workers_ - sleepers_ < threads - 1) {   // too few are awake
        std::lock_guard<std::mutex> lock(sleep_);
        wake_.notify_all();
    }
    take_items();
    const uint32_t entered = uint32_t(state_.fetch_and(~OPEN) & INSIDE);
    for (int spins = 0; left_.load(std::memory_order_acquire) < entered; spins++)
        spins < SPINS ? relax() : std::this_thread::yield();
}

// If the system gives no more threads, those that exist do the work.
void Pool::grow(int workers) {
    try {
        for (; workers_ < workers; workers_++) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
    }
}

void Pool::serve() {
    uint64_t last_loop = 0;
    for (;;) {
        for (int spins = 0; spins < SPINS; spins++) {
            if (enter(&last_loop)) {
                take_items();
                left_.fetch_add(1, std::memory_order_release);
                spins = 0;
            }
            relax();
        }
        std::unique_lock<std::mutex> lock(sleep_);
        sleepers_++;
        wake_.wait(lock, [&] { return offers(state_.load(), last_loop); });
        sleepers_--;
    }
}

// Whether there is a loop, not entered before, with room.
bool Pool::offers(uint64_t state, uint64_t last_loop) const {
    return (state & OPEN) && (state & ~(OPEN | INSIDE)) != last_loop && (state & INSIDE) < room_;
}

bool Pool::enter(uint64_t* last_loop) {
    uint64_t state = state_.load(std::memory_order_acquire);
    do {
        if (!offers(state, *last_loop)) return false;
    } while (!state_.compare_exchange_weak(state, state + 1));
    *last_loop = state & ~(OPEN | INSIDE);
    return true;
}

void Pool::take_items() {
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < items_;) call_(work_, i);
}

}  // namespace haina
