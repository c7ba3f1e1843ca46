/* haina.h - the contract of the native library, in plain C.
 *
 * One call runs the whole network over a ragged batch: rows of different lengths whose keys and values lie in
 * pages. The library knows pointers and sizes. It does not know files, model families or tokens
 * as text: what differs between families is data here (a pointer or NULL, a size or 0). One more chooses the next id.
 *
 * Shapes, one legend for the package (the same as in model/decoder.py):
 *     B rows   T tokens fed now   S slots seen so far   D width   H query heads   K key heads
 *     E width of a head   R rotated dims of a head   F feed-forward   V vocabulary   N fed tokens of all rows
 * Arrays are in C order, the last index fastest; [N, H, E] is the same memory as [N, H*E].
 *
 * Alignment: every pointer to its element (float 4 bytes, 16-bit weights 2), no more; maps of files are fine.
 * Aliasing:  an output overlaps no input unless the function says so. Weights are only read.
 * Numbers:   activations, accumulators and softmax are fp32 (sums of squares and rotation angles are double).
 *            NaN and infinity are never hidden: where one goes in, one comes out.
 * Order:     the logits of a row are bitwise the same alone or in any batch, fed at once or in parts, with any
 *            number of threads: no order of summation depends on them. Instruction sets and page sizes differ
 *            from each other by rounding.
 * Threads:   every function may be called from several threads at once, with caches and outputs of their own.
 * Errors:    functions return a status; nothing is thrown, nothing aborts. HAINA_BAD_ARGUMENT is a missing
 *            pointer or sizes that contradict each other. Ids, pages and positions are checked before anything is
 *            read or written by them, and the status says which are wrong. After an error, outputs are undefined. */
#ifndef HAINA_H
#define HAINA_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define HAINA_API __declspec(dllexport)
#else
#define HAINA_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define HAINA_ABI 9              /* raised whenever a struct or a signature below changes */
#define HAINA_MAX_PAGE_TOKENS 256
#define HAINA_PAGE_STEP 16       /* the tokens of a page are a multiple of it */
#define HAINA_MAX_POSITION 0x3fffffff
#define HAINA_MAX_THREADS 1024
#define HAINA_MAX_TOP 64
#define HAINA_MAX_RANK 256
#define HAINA_LAYER_MATRICES 7   /* wq, wk, wv, wo, gate, up, down, in this order */

enum haina_status {
    HAINA_OK = 0,
    HAINA_NO_MEMORY = 1,
    HAINA_BAD_ARGUMENT = 2,
    HAINA_BAD_IDS = 3,           /* of a step or of haina_head: not in 0 .. V-1 */
    HAINA_BAD_AT = 4,            /* of a step, here and below: not in 0 .. HAINA_MAX_POSITION */
    HAINA_BAD_ROW_START = 5,     /* does not rise from 0 to N */
    HAINA_BAD_PAGES = 6,         /* not in 0 .. cache.pages-1 */
    HAINA_BAD_PAGE_START = 7,    /* does not rise from 0 to `owned` */
    HAINA_BAD_WANT = 8,          /* not in 0 .. N-1 */
    HAINA_BAD_WANT_HIDDEN = 9,
    HAINA_AT_FALLS = 10,         /* positions do not rise within a row */
    HAINA_TOO_FEW_PAGES = 11,    /* a row feeds a position beyond its pages */
    HAINA_SAME_SLOT = 12,        /* two tokens would write the same slot */
    HAINA_NOT_A_NUMBER = 13,     /* of haina_choose: a logit is NaN or infinity, or becomes it */
    HAINA_NO_CHOICE = 14,        /* every logit is -infinity, or becomes it */
    HAINA_BAD_ADAPTER = 15       /* of a row: not in -1 .. adapter_count-1 */
};

/* BF16 is the upper half of an F32. Of weights all but I8; of keys and values the first four. W8 and W4 are packed:
 * docs/formats.md. A product with a packed matrix rounds x to int8, 128 columns of a token at a time. */
enum haina_dtype { HAINA_F32 = 0, HAINA_F16 = 1, HAINA_BF16 = 2, HAINA_I8 = 3, HAINA_W8 = 4, HAINA_W4 = 5 };

/* Instruction sets. AVX2 means AVX2 + FMA + F16C; AVXVNNI is AVX-VNNI beside them, AVX512 is AVX-512 F, BW, VL and
 * VNNI. NEON means Armv8.2 with the dot product. Products with packed matrices have the same bits in all of them. */
enum haina_isa { HAINA_BEST = 0, HAINA_GENERIC = 1, HAINA_AVX2 = 2, HAINA_AVX512 = 3, HAINA_AVXVNNI = 4, HAINA_NEON = 5 };

/* A matrix [rows = outputs, cols = inputs]: data[r, c], or packed. */
typedef struct haina_matrix {
    const void *data;
    int64_t rows, cols;
    int32_t dtype;
    int32_t reserved;            /* 0 */
} haina_matrix;

/* x + wo·attention(norm(x)), then x + down(silu(gate·n) · up·n) with n = norm(x). */
typedef struct haina_layer {
    const float *attention_norm; /* [D] */
    const float *ffn_norm;       /* [D] */
    const float *bq, *bk, *bv;   /* [H*E], [K*E], [K*E], or NULL: no bias */
    const float *q_norm, *k_norm;/* [E], or NULL: heads are not normed. RMS over E, before the rotation */
    haina_matrix wq, wk, wv;     /* [H*E, D], [K*E, D], [K*E, D] */
    haina_matrix wo;             /* [D, H*E] */
    haina_matrix gate, up;       /* [F, D] */
    haina_matrix down;           /* [D, F] */
} haina_layer;

/* The network. Query head h reads key head h / (H/K). */
typedef struct haina_model {
    int32_t layers, width, heads, key_heads, head_width, rotary, ffn, vocab; /* L D H K E R F V */
    float eps;                   /* of every norm */
    float reserved;              /* 0 */
    double theta;                /* base of the rotation; dim i < R/2 turns with dim i + R/2 by at·theta^(-2i/R) */
    const float *slopes;         /* [H], or NULL: the score of slot j for the token at i gains slope·(j - i) */
    const float *norm;           /* [D] */
    const haina_layer *layer;    /* [layers] */
    haina_matrix embedding;      /* [V, D] */
    haina_matrix head;           /* [V, D]; tied: the same matrix again */
} haina_model;

/* Keys (rotated) and values of all layers in pages of page_tokens slots. Unwritten slots are never used. The keys of
 * a page lie with slots innermost: a vector of slots is multiplied by one element of a query.
 * F16 and BF16 round to nearest even (F16: beyond 65504 to infinity). I8 is scale·(-127 .. 127) with the scale
 * max|x| / 127 of its slot and key head; a NaN or infinity makes its slot and head NaN. */
typedef struct haina_cache {
    void *keys;                  /* [layers, pages, K, E, page_tokens] */
    void *values;                /* [layers, pages, K, page_tokens, E] */
    float *key_scale;            /* [layers, pages, K, page_tokens] for I8, else NULL */
    float *value_scale;          /* the same */
    int32_t pages, page_tokens;  /* page_tokens: a multiple of HAINA_PAGE_STEP up to HAINA_MAX_PAGE_TOKENS */
    int32_t dtype;               /* HAINA_F32, _F16, _BF16 or _I8 */
    int32_t reserved;            /* 0 */
} haina_cache;

/* What the products of the last layer are given, and the state after it: what calibration looks at. */
typedef struct haina_inside {
    float *attention;            /* out [N, D]: the input of wq, wk and wv */
    float *wo;                   /* out [N, H*E] */
    float *ffn;                  /* out [N, D]: the input of gate and up */
    float *down;                 /* out [N, F] */
    float *state;                /* out [N, D]: before the last norm */
} haina_inside;

/* What an adapter adds to one matrix [rows, cols]: y += (x·aᵀ)·b, all in fp32. LoRA, arXiv:2106.09685; its scale is
 * in b. */
typedef struct haina_low_rank {
    const float *a;              /* [rank, cols] */
    const float *b;              /* [rank, rows] */
    int64_t rank;                /* 0 .. HAINA_MAX_RANK; 0: nothing is added, a and b may be NULL */
} haina_low_rank;

/* A ragged batch. Row b feeds tokens row_start[b] .. row_start[b+1]-1 of ids and at, and owns the pages
 * page_start[b] .. page_start[b+1]-1 of `pages`: its position p is slot p % page_tokens of its page
 * p / page_tokens. Within a row `at` increases strictly. The token at i sees slots 0 .. i of its own row, so
 * all of them must be fed by now. Rows may share pages (a common prefix), but each token writes a slot of its own. In
 * every layer all slots are written before any is read: what one row feeds, rows that share the page see at once. */
typedef struct haina_step {
    const int32_t *ids;          /* [N], in 0 .. V-1 */
    const int32_t *at;           /* [N], positions */
    const int32_t *row_start;    /* [B+1]: 0 .. N */
    const int32_t *pages;        /* [owned]: page numbers of all rows, in 0 .. cache.pages-1 */
    const int32_t *page_start;   /* [B+1] */
    const int32_t *want;         /* [wanted]: fed tokens (indices into 0 .. N-1) whose logits to compute */
    const int32_t *want_hidden;  /* [wanted_hidden]: fed tokens whose state after the last norm to return */
    float *logits;               /* out [wanted, V] */
    float *hidden;               /* out [wanted_hidden, D] */
    const haina_inside *inside;  /* or NULL */
    const int32_t *row_adapter;  /* [B]: which of `adapters` each row uses, -1: none; or NULL: no row uses one */
    const haina_low_rank *const *adapters; /* [adapter_count], each [layers, HAINA_LAYER_MATRICES] */
    int32_t rows, tokens, owned; /* B, N, and how long `pages` is */
    int32_t wanted, wanted_hidden;
    int32_t threads;             /* 1 .. HAINA_MAX_THREADS, the caller among them */
    int32_t isa;                 /* HAINA_BEST, or one to force: HAINA_BAD_ARGUMENT if this machine lacks it */
    int32_t adapter_count;
} haina_step;

/* HAINA_ABI of the library, and sizeof of haina_matrix, _layer, _model, _cache, _inside, _step, _rule,
 * _history, _chosen, _low_rank, _trie, _prior, _edge, _typed: which = 0 .. 13. */
HAINA_API int32_t haina_abi(void);
HAINA_API size_t haina_sizeof(int32_t which);

/* 1 if this library and this machine have the instruction set, else 0. HAINA_BEST and HAINA_GENERIC: 1. */
HAINA_API int32_t haina_has_isa(int32_t isa);

/* Runs the network over the step: writes the keys and values of all N tokens into the cache, then fills
 * `logits` and `hidden`. Work memory is 8·N·(D + H*E + K*E + F) bytes and a little: linear in N, whatever the
 * lengths. */
HAINA_API int haina_forward(const haina_model *model, const haina_cache *cache, const haina_step *step);

/* y[t, i] = sum_c x[t, c]·w[ids[i], c]: `count` rows of w alone, in any order, as often as they are named, each with
 * the bits that haina_forward and haina_matmul give it.  x [tokens, w.cols], ids [count] in 0 .. w.rows-1,
 * y [tokens, count]. Work memory is that of these rows. 16 rows of a packed matrix lie in the same cache lines: a
 * twentieth of its rows, scattered, is about half of its bytes to read. */
HAINA_API int haina_head(const haina_matrix *w, const int32_t *ids, int64_t count, const float *x, int64_t tokens,
                         float *y, int32_t threads, int32_t isa);

/* y[i] = row ids[i] of a packed matrix, its weights as floats.  ids [count] in 0 .. w.rows-1, y [count, w.cols]. */
HAINA_API int haina_unpack(const haina_matrix *w, const int32_t *ids, int64_t count, float *y, int32_t threads);

/* How an answer's ids are chosen: engine/sampling.py says what each field means and in which order they act. */
typedef struct haina_rule {
    double temperature, top_p, min_p, typical_p;
    double frequency, presence;  /* per time said; once */
    const int32_t *biased;       /* [biases], ids that rise */
    const float *bias;           /* [biases]; -infinity: never */
    float repetition;
    int32_t top_k;               /* 0: all */
    int32_t biases;
    int32_t top;                 /* so many of the likeliest are reported, up to HAINA_MAX_TOP */
} haina_rule;

/* What the answer's text so far takes from logits. */
typedef struct haina_history {
    const int32_t *seen, *times; /* [seens], ids of prompt and answer that rise; how often the answer says each */
    const int32_t *repeating;    /* [repeats], ids that rise */
    const float *nats;           /* [repeats]: what they lose as repetitions of a passage */
    int32_t seens, repeats;
} haina_history;

/* Nats are those of the logits as given, likeliest first. */
typedef struct haina_chosen {
    double nats;
    double top_nats[HAINA_MAX_TOP];
    int32_t top_ids[HAINA_MAX_TOP];
    int32_t id, tops;
} haina_chosen;

/* Chooses one of `logits` [n]: of all ids, or of those in ids [n], which rise; ids is NULL for all. `uniform`, in
 * 0 .. 1, says which share of the weights, side by side in the order of ids, lies below the id that is drawn.
 * HAINA_BAD_IDS: the rule or the history names an id that does not exist. The same bits on every machine but for nats
 * (the C library's log). */
HAINA_API int haina_choose(const haina_rule *rule, const haina_history *past, const float *logits, const int32_t *ids,
                           int64_t n, double uniform, haina_chosen *out, int32_t isa);

/* log of the sum of exp(x), x [n], n at least 1: what logits lack to be nats, with the bits that haina_choose has. */
HAINA_API int haina_log_sum_exp(const float *x, int64_t n, double *out, int32_t isa);

/* ---- Text, for cleaning corpora: code points in, integers out, the same bits on every machine. ---- */

#define HAINA_SHINGLE 5          /* characters of a shingle */

/* Folds text [n] and cuts it into words. A character c < folds becomes fold[c] and is left out where that is 0; the
 * others stay. A Chinese or Japanese character is a word; of other scripts a run without gaps. out: folded [n], at [n]
 * (the place of each in text), start [n+1] (of each word in folded, and the end), hash [n] of the words, counts [2]:
 * how many characters and words these are. */
HAINA_API int haina_words(const uint32_t *text, int64_t n, const uint32_t *fold, int64_t folds, uint32_t *folded,
                          int64_t *at, int64_t *start, uint64_t *hash, int64_t *counts);

/* out [n-size+1], or nothing: a hash of each `size` neighbours of hashes [n]. */
HAINA_API int haina_windows(const uint64_t *hashes, int64_t n, int32_t size, uint64_t *out);

/* Those of the hashes of haina_windows that may be in a set (Bloom, 1970): their first `bits` (3 .. 32) and the next
 * as many both name a bit of sieve [2^bits / 8], lowest first, that is 1. out [n-size+1], in order; count: how many. */
HAINA_API int haina_sift(const uint64_t *hashes, int64_t n, int32_t size, const uint8_t *sieve, int32_t bits,
                         uint64_t *out, int64_t *count);

/* Of n words, as haina_words has them, for n-grams of sizes [count]: chars[i] for i < tops is how many characters lie
 * in all occurrences of the n-gram that occurs most often (the longest of several; 0 where none occurs twice), for the
 * others how many lie in n-grams that occurred before, read from the left, none counted twice. */
HAINA_API int haina_ngrams(const uint64_t *hashes, const int64_t *start, int64_t n, const int32_t *sizes,
                           int32_t tops, int32_t count, int64_t *chars);

/* MinHash (Broder, 1997) over shingles of HAINA_SHINGLE characters, for `units` texts side by side: unit u is
 * text[start[u]] .. text[start[u+1]-1]. keys [1+bands, units]: a hash of the unit, then of each band of `rows` minima.
 * isa: HAINA_GENERIC, or the best. */
HAINA_API int haina_minhash(const uint32_t *text, const int64_t *start, int64_t units, int32_t bands, int32_t rows,
                            uint64_t *keys, int32_t isa);

/* Union-find: joins left[i] and right[i] for each of `pairs`; every tree hangs from its smallest number. */
HAINA_API int haina_unite(const int64_t *left, const int64_t *right, int64_t pairs, int64_t *parent);

/* ---- lattice.cpp: words over a graph of typed syllables, by a beam under a word trigram. ---- */

/* A trie of words by their syllables. Node 0 is the root; the children of node i are first[i] .. first[i+1]-1, sorted by
 * syllable[child]. The words that end at node i are entries entry_start[i] .. entry_start[i+1]-1: entry_word is a word of
 * this trie, entry_cost what its reading costs (of the user's trie: what the word costs) in 1/12 nat. The UTF-16 units of
 * word w are chars[char_start[w]] .. chars[char_start[w+1]-1]; known[w] is its number in the prior, or -1; NULL: w. */
typedef struct {
    const uint32_t *first, *entry_start, *entry_word, *char_start;
    const uint16_t *syllable, *chars;
    const uint8_t *entry_cost;
    const int64_t *known;
} haina_trie;

/* A word trigram that backs off. cost[w]: of a word alone, in 1/12 nat, as are pair_cost and triple_cost; the backoffs
 * count from -4 nats. Words below `common` have followers: pair_word[pair_start[w] .. pair_start[w+1]-1], sorted.
 * context [contexts]: the pairs that have followers, sorted; triple_word[triple_start[c] .. triple_start[c+1]-1].
 * kind [common]: of each word; liking [kinds, kinds]: nats, from -10, that a word never seen behind another costs more
 * than alone, by the kinds of both. */
typedef struct {
    const uint8_t *cost, *backoff, *pair_cost, *context_backoff, *triple_cost, *kind, *liking;
    const uint16_t *pair_word, *triple_word;
    const uint32_t *pair_start, *context, *triple_start;
    int64_t common, contexts, kinds;
    uint32_t boundary, other;       /* the words that stand for the ends of clauses, and for what is no word */
} haina_prior;

/* What may have been typed between two nodes: a syllable, or (-1 - word) keys that stay as they are, and count as that
 * word of the prior for what follows; the price in nats. Behind an open one nothing may follow. */
typedef struct {
    int32_t from, syllable;
    float cost;
    int32_t open;
} haina_edge;

/* A word of an answer, between two nodes; word -1: the keys as they are; trie 1: the user's. */
typedef struct {
    int32_t from, to, word, trie;
} haina_typed;

typedef struct haina_lattice haina_lattice;

/* A graph of one node behind words that were said before. All that is pointed to must outlive it. NULL: no memory. */
HAINA_API haina_lattice *haina_lattice_new(const haina_prior *prior, const haina_trie *trie, const haina_trie *user,
                                           int32_t width, const uint32_t *context, int32_t words);
HAINA_API void haina_lattice_free(haina_lattice *lattice);

/* One more node, behind edges from the others; and all but the first `nodes` besides the root taken away. */
HAINA_API int haina_lattice_add(haina_lattice *lattice, const haina_edge *edge, int32_t edges);
HAINA_API int haina_lattice_cut(haina_lattice *lattice, int32_t nodes);

/* The best texts up to node `at`, at most `most`: cost in nats [most], `ending` times that of a boundary behind them
 * included; their words last to first words [most, at]. */
HAINA_API int haina_lattice_best(const haina_lattice *lattice, int32_t at, int32_t most, float ending, float *costs,
                                 int32_t *count, haina_typed *words, int32_t *word_count);

/* The likeliest single words from one node to another, behind the best text up to the first: costs in nats and words
 * [most]. */
HAINA_API int haina_lattice_words(haina_lattice *lattice, int32_t from, int32_t at, int32_t most, float *costs,
                                  haina_typed *words, int32_t *count);

/* Nats of each of these words behind those before it. */
HAINA_API int haina_prior_cost(const haina_prior *prior, const uint32_t *words, int32_t count, float *nats);

/* The likeliest words of a text of n code points. slots [2^bits]: hashes of words, 0 where there is none, slot_word and
 * cost_of their numbers and nats; a character that is no word costs `unknown` and is UINT32_MAX. words [n]. */
HAINA_API int haina_segment(const uint32_t *text, int64_t n, const uint64_t *slots, const uint32_t *slot_word,
                            int32_t bits, const float *cost_of, int32_t longest, float unknown, uint32_t *words,
                            int64_t *count);

/* ---- The kernels one by one, as forward uses them: for tests and benchmarks. reference.py defines each. ---- */

/* y[t, r] = sum_c x[t, c]·w[r, c] + bias[r].  x [tokens, w.cols], y [tokens, w.rows], bias [w.rows] or NULL. */
HAINA_API int haina_matmul(const haina_matrix *w, const float *bias, const float *x, int64_t tokens, float *y,
                           int32_t threads, int32_t isa);

/* Packs w [rows, cols] as W8 or W4 into out (packing.py: packed_bytes). The values must be finite. The bytes do not
 * depend on threads or the instruction set. */
HAINA_API int haina_pack(int32_t dtype, const float *w, int64_t rows, int64_t cols, void *out, int32_t threads);

/* Reads `bytes` at data once with so many threads and does nothing with them: for measuring how fast memory is. */
HAINA_API int haina_read(const void *data, int64_t bytes, int32_t threads);

/* y = x / sqrt(mean(x²) + eps) · weight for each row of x [rows, width]; weight [width]. y may be x. */
HAINA_API int haina_rms_norm(const float *x, const float *weight, float eps, int64_t rows, int64_t width, float *y,
                             int32_t isa);

/* cos and sin [tokens, rotary/2] of the angles at·theta^(-2i/rotary), rounded once from double. */
HAINA_API int haina_angles(const int32_t *at, int64_t tokens, int32_t rotary, double theta, float *cos, float *sin);

/* Turns the first `rotary` dims of every head in place, in halves. x [tokens, heads, head_width]. */
HAINA_API int haina_rotate(float *x, const float *cos, const float *sin, int64_t tokens, int32_t heads,
                           int32_t head_width, int32_t rotary);

/* y = silu(gate)·up over `count` floats; y may be gate or up. silu(a) = a / (1 + exp(-a)). */
HAINA_API int haina_silu_mul(const float *gate, const float *up, int64_t count, float *y, int32_t isa);

/* Keys and values [N, K, E] of one layer into the slots of `step` (its rows, at, pages, threads, isa). */
HAINA_API int haina_store(const haina_model *model, const haina_cache *cache, const haina_step *step, int32_t layer,
                          const float *keys, const float *values);

/* Attention of one layer: q [N, H, E] against the pages of `step` (its rows, at, pages, threads, isa), with the
 * sizes and slopes of `model`. y [N, H, E] = softmax(q·k / sqrt(E) + slope·(j - i)) · v, over slots 0 .. i.
 * Softmax runs page by page with a running maximum (arXiv:1805.02867), so memory does not grow with S. */
HAINA_API int haina_attention(const haina_model *model, const haina_cache *cache, const haina_step *step,
                              int32_t layer, const float *q, float *y);

#ifdef __cplusplus
}
#endif

#endif
