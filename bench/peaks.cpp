// peaks.cpp - what this machine can do at most: bytes read from memory, int8 and fp32 multiply-adds, in registers.
// Compiled and loaded by bench/machine.py with the system's compiler; it knows nothing of models or of our library.
// Each figure is one timing of all threads together; the caller repeats and takes the median.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>
#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Seconds from the moment that all threads are there until the last one is done.
template <class Work> double together(int threads, Work work) {
    std::atomic<int> here{0};
    auto body = [&](int i) {
        here++;
        while (here < threads) {}
        work(i);
    };
    std::vector<std::thread> others;
    for (int i = 1; i < threads; i++) others.emplace_back(body, i);
    while (here < threads - 1) {}
    const double start = now();
    body(0);
    for (auto& other : others) other.join();
    return now() - start;
}

volatile int64_t sink;  // keeps results alive

constexpr int64_t LOOPS = 2'000'000;  // a fiftieth of a second

#if defined(__x86_64__)
// Twelve independent sums: enough for a latency of 6 and two results a cycle, and few enough for 16 registers.
#define SUMS(vector, zero) vector a[12]; for (auto& x : a) x = zero
#define EACH _Pragma("GCC unroll 12") for (int k = 0; k < 12; k++)

__attribute__((target("avx512f,avx512vnni"))) void vnni512(int64_t loops) {
    SUMS(__m512i, _mm512_setzero_si512());
    const __m512i u = _mm512_set1_epi8(3), s = _mm512_set1_epi8(-2);
    for (int64_t i = 0; i < loops; i++) EACH asm volatile("vpdpbusd %2, %1, %0" : "+v"(a[k]) : "v"(u), "v"(s));
    EACH sink = _mm512_reduce_add_epi32(a[k]);
}

__attribute__((target("avx512f,avx512vl,avx512vnni"))) void vnni256(int64_t loops) {
    SUMS(__m256i, _mm256_setzero_si256());
    const __m256i u = _mm256_set1_epi8(3), s = _mm256_set1_epi8(-2);
    for (int64_t i = 0; i < loops; i++) EACH asm volatile("vpdpbusd %2, %1, %0" : "+v"(a[k]) : "v"(u), "v"(s));
    EACH sink = _mm256_extract_epi32(a[k], 0);
}

__attribute__((target("avx2"))) void maddubs(int64_t loops) {
    SUMS(__m256i, _mm256_setzero_si256());
    const __m256i u = _mm256_set1_epi8(3), one = _mm256_set1_epi16(1);
    const __m256i s = _mm256_set1_epi8(-2);
    for (int64_t i = 0; i < loops; i++) EACH {
        __m256i pairs;
        asm volatile("vpmaddubsw %2, %1, %0" : "=x"(pairs) : "x"(u), "x"(s));
        asm volatile("vpmaddwd %2, %1, %0" : "=x"(pairs) : "x"(pairs), "x"(one));
        a[k] = _mm256_add_epi32(a[k], pairs);
    }
    EACH sink = _mm256_extract_epi32(a[k], 0);
}

__attribute__((target("avx512f"))) void fma512(int64_t loops) {
    SUMS(__m512, _mm512_setzero_ps());
    const __m512 x = _mm512_set1_ps(1.0f), y = _mm512_set1_ps(1e-9f);
    for (int64_t i = 0; i < loops; i++) EACH asm volatile("vfmadd231ps %2, %1, %0" : "+v"(a[k]) : "v"(x), "v"(y));
    EACH sink = int64_t(_mm512_reduce_add_ps(a[k]));
}

__attribute__((target("avx2,fma"))) void fma256(int64_t loops) {
    SUMS(__m256, _mm256_setzero_ps());
    const __m256 x = _mm256_set1_ps(1.0f), y = _mm256_set1_ps(1e-9f);
    for (int64_t i = 0; i < loops; i++) EACH asm volatile("vfmadd231ps %2, %1, %0" : "+x"(a[k]) : "x"(x), "x"(y));
    EACH sink = int64_t(_mm256_cvtss_f32(a[k]));
}

bool has(const char* name) {
    __builtin_cpu_init();
    if (!strcmp(name, "vpdpbusd zmm")) return __builtin_cpu_supports("avx512vnni");
    if (!strcmp(name, "vpdpbusd ymm")) return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl");
    if (!strcmp(name, "fp32 fma zmm")) return __builtin_cpu_supports("avx512f");
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

struct Peak { const char* name; double ops; void (*run)(int64_t); };
const Peak PEAKS[] = {  // operations of one instruction (or group): a multiply and an add count as two
    {"vpdpbusd zmm", 128, vnni512}, {"vpdpbusd ymm", 64, vnni256}, {"vpmaddubsw+vpmaddwd ymm", 64, maddubs},
    {"fp32 fma zmm", 32, fma512}, {"fp32 fma ymm", 16, fma256},
};
#elif defined(__aarch64__)
#define SUMS(vector, zero) vector a[12]; for (auto& x : a) x = zero
#define EACH _Pragma("GCC unroll 12") for (int k = 0; k < 12; k++)

__attribute__((target("arch=armv8.2-a+dotprod"))) void sdot(int64_t loops) {
    SUMS(int32x4_t, vdupq_n_s32(0));
    const int8x16_t x = vdupq_n_s8(3), y = vdupq_n_s8(-2);
    for (int64_t i = 0; i < loops; i++) EACH asm volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(a[k]) : "w"(x), "w"(y));
    EACH sink = vaddvq_s32(a[k]);
}

void fma128(int64_t loops) {
    SUMS(float32x4_t, vdupq_n_f32(0));
    const float32x4_t x = vdupq_n_f32(1.0f), y = vdupq_n_f32(1e-9f);
    for (int64_t i = 0; i < loops; i++) EACH asm volatile("fmla %0.4s, %1.4s, %2.4s" : "+w"(a[k]) : "w"(x), "w"(y));
    EACH sink = int64_t(vaddvq_f32(a[k]));
}

bool has(const char*) { return true; }  // compiled only where haina's own dot-product kernels are

struct Peak { const char* name; double ops; void (*run)(int64_t); };
const Peak PEAKS[] = {{"sdot", 32, sdot}, {"fp32 fmla", 8, fma128}};
#else
struct Peak { const char* name; double ops; void (*run)(int64_t); };
const Peak PEAKS[] = {{"none", 0, nullptr}};
bool has(const char*) { return false; }
#endif

}  // namespace

extern "C" {

// The name of peak number i that this machine has, "" if it has not, null behind the last.
const char* peak_name(int i) {
    if (i >= int(sizeof PEAKS / sizeof *PEAKS)) return nullptr;
    return has(PEAKS[i].name) ? PEAKS[i].name : "";
}

// Operations a second of peak number i, all threads together.
double peak_ops(int i, int threads) {
    const double s = together(threads, [&](int) { PEAKS[i].run(LOOPS); });
    return PEAKS[i].ops * 12 * (LOOPS) * threads / s;
}

// Bytes a second, reading a gibibyte from front to back; threads take pieces of 256 KiB in turn.
double read_rate(int threads) {
    constexpr int64_t SIZE = int64_t(1) << 30, PIECE = 256 << 10;
    static uint64_t* buffer = [] {
        auto* memory = static_cast<uint64_t*>(std::aligned_alloc(2 << 20, SIZE));
#if defined(__linux__)
        madvise(memory, SIZE, MADV_HUGEPAGE);
#endif
        memset(memory, 1, SIZE);
        return memory;
    }();
    std::atomic<int64_t> next{0};
    const double s = together(threads, [&](int) {
        uint64_t sums[16] = {};
        for (int64_t at; (at = next.fetch_add(PIECE)) < SIZE;) {
            const uint64_t* piece = buffer + at / 8;
            for (int64_t i = 0; i < PIECE / 8; i += 16)
                for (int k = 0; k < 16; k++) sums[k] ^= piece[i + k];
        }
        for (uint64_t sum : sums) sink = int64_t(sum);
    });
    return SIZE / s;
}

}  // extern "C"
