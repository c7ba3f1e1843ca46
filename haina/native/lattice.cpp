// lattice.cpp - words over a graph of typed syllables, found by a beam under a word trigram; and words in plain text.
// A hypothesis is a text, not a way to cut it: of equal texts at a node the likelier stays, so the best of the last
// node are n different readings. A node depends on those before it alone: one more key is one more node.
#include "haina.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>
#include <vector>

namespace {

constexpr float STEP = 1.f / 12;          // nats that a stored cost counts by
constexpr float BACKOFF_FROM = -4;        // nats: the stored 0 of a backoff
constexpr float LIKING_FROM = -10;        // nats: the stored 0 of a liking
constexpr float WORST = 30;               // nats behind the best of a node, where a hypothesis is dropped
constexpr int64_t MOST_PAIRS = 40000;     // of a hypothesis and a word, looked at for one start of a node
constexpr uint64_t ODD = 0x9e3779b97f4a7c15;

struct Range {
    uint32_t from = 0, to = 0;
};

// What the next word depends on: the words that were seen behind the last one, and behind the last two.
struct State {
    Range pairs, triples;
    float backoff_pair = 0, backoff_triple = 0;
    uint32_t word = 0;
};

float backoff(uint8_t stored) { return stored * STEP + BACKOFF_FROM; }

// Where `word` lies in a sorted range; `to` if it does not.
uint32_t find(const uint16_t *words, Range range, uint32_t word) {
    const uint16_t *end = words + range.to, *at = std::lower_bound(words + range.from, end, word);
    return at != end && *at == word ? uint32_t(at - words) : range.to;
}

State after(const haina_prior &prior, const State &before, uint32_t word) {
    State state;
    state.word = word;
    if (int64_t(word) >= prior.common) return state;
    state.pairs = {prior.pair_start[word], prior.pair_start[word + 1]};
    state.backoff_pair = backoff(prior.backoff[word]);
    uint32_t pair = find(prior.pair_word, before.pairs, word);
    if (pair == before.pairs.to) return state;
    const uint32_t *end = prior.context + prior.contexts, *at = std::lower_bound(prior.context, end, pair);
    if (at == end || *at != pair) return state;
    auto context = at - prior.context;
    state.triples = {prior.triple_start[context], prior.triple_start[context + 1]};
    state.backoff_triple = backoff(prior.context_backoff[context]);
    return state;
}

// Nats of a word behind one that it was never seen behind, both common.
float alone(const haina_prior &prior, uint32_t before, uint32_t word) {
    uint8_t liking = prior.liking[prior.kind[before] * prior.kinds + prior.kind[word]];
    return (prior.cost[word] + liking) * STEP + LIKING_FROM;
}

// Nats of a word behind a state, as Katz backs off: the longest that was seen, and what it costs to come to it.
float cost(const haina_prior &prior, const State &state, uint32_t word) {
    float passed = 0;
    if (int64_t(word) < prior.common) {
        if (state.triples.from != state.triples.to) {
            uint32_t at = find(prior.triple_word, state.triples, word);
            if (at != state.triples.to) return prior.triple_cost[at] * STEP;
            passed = state.backoff_triple;
        }
        uint32_t at = find(prior.pair_word, state.pairs, word);
        if (at != state.pairs.to) return passed + prior.pair_cost[at] * STEP;
        if (int64_t(state.word) < prior.common) return passed + state.backoff_pair + alone(prior, state.word, word);
    } else {
        passed = state.triples.from != state.triples.to ? state.backoff_triple : 0;
    }
    return passed + state.backoff_pair + prior.cost[word] * STEP;
}

// A word that has been typed in part: from the node where it began, to a node of a trie.
struct Begun {
    int32_t start;
    uint32_t node;
    float cost;
    uint8_t trie, open;
};

struct Hypothesis {
    float cost;
    int32_t start, back;   // the node it comes from, and which of the hypotheses there; -1: none
    int32_t word;          // of the trie's words; -1: keys that stay as they are
    uint8_t trie, open;
    uint64_t text;
    State state;
};

struct Candidate {
    float cost, user;      // user < 0: not a word of the user's
    uint32_t word;         // in its trie
    int64_t known;         // in the prior; -1: not there
    uint8_t trie;
};

struct Way {
    float cost;
    int32_t back;
    uint32_t candidate;
};

struct Node {
    std::vector<Begun> begun;
    std::vector<Hypothesis> hypotheses;
};

uint64_t say(uint64_t text, const uint16_t *chars, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++) text = (text + chars[i] + 1) * ODD, text ^= text >> 29;
    return text;
}

}  // namespace

struct haina_lattice {
    const haina_prior *prior;
    const haina_trie *tries[2];
    int32_t width;
    std::vector<Node> nodes;

    void add(int32_t edges, const haina_edge *edge);
    void follow(Node &node, const haina_edge &edge);
    float nats(const State &state, const Candidate &candidate) const;
    void gather(const Node &node, size_t from, size_t to);
    void collect(Node &node, int32_t start, size_t from, size_t to);
    void literal(Node &node, const haina_edge &edge);
    void settle(Node &node);

    std::vector<Candidate> candidates;
    std::vector<Way> ways;
};

// The words begun at the edge's node go on with its syllable.
void haina_lattice::follow(Node &node, const haina_edge &edge) {
    for (const Begun &begun : nodes[size_t(edge.from)].begun) {
        if (begun.open) continue;
        const haina_trie &trie = *tries[begun.trie];
        const uint16_t *from = trie.syllable + trie.first[begun.node], *to = trie.syllable + trie.first[begun.node + 1];
        const uint16_t *at = std::lower_bound(from, to, uint16_t(edge.syllable));
        if (at == to || *at != edge.syllable) continue;
        node.begun.push_back({begun.start, uint32_t(at - trie.syllable), begun.cost + edge.cost, begun.trie,
                              uint8_t(edge.open)});
    }
}

// The words that end at a node and were begun as these of `begun` say.
void haina_lattice::gather(const Node &node, size_t from, size_t to) {
    candidates.clear();
    for (size_t i = from; i < to; i++) {
        const Begun &begun = node.begun[i];
        const haina_trie &trie = *tries[begun.trie];
        for (uint32_t e = trie.entry_start[begun.node]; e < trie.entry_start[begun.node + 1]; e++) {
            float reading = trie.entry_cost[e] * STEP;
            if (begun.trie == 0) {
                candidates.push_back({begun.cost + reading, -1, trie.entry_word[e], trie.entry_word[e], 0});
            } else {
                candidates.push_back({begun.cost, reading, trie.entry_word[e], trie.known[trie.entry_word[e]], 1});
            }
        }
    }
}

// Nats of a word behind a state; of one of the user's, what the user or everybody makes of it, whichever is likelier.
float haina_lattice::nats(const State &state, const Candidate &c) const {
    float all = c.known < 0 ? c.user : cost(*prior, state, uint32_t(c.known));
    return c.user < 0 ? all : std::min(all, c.user);
}

// The words that end here and began at `start`, behind each hypothesis there.
void haina_lattice::collect(Node &node, int32_t start, size_t from, size_t to) {
    gather(node, from, to);
    auto &before = nodes[size_t(start)].hypotheses;
    size_t closed = 0;
    while (closed < before.size() && !before[closed].open) closed++;   // open ones are sorted behind the others
    if (candidates.empty() || !closed) return;
    size_t most = size_t(MOST_PAIRS) / std::min<size_t>(closed, 8);
    if (candidates.size() > most) {
        auto rough = [&](const Candidate &c) { return c.cost + (c.known < 0 ? c.user : prior->cost[c.known] * STEP); };
        std::nth_element(candidates.begin(), candidates.begin() + long(most), candidates.end(),
                         [&](const Candidate &a, const Candidate &b) { return rough(a) < rough(b); });
        candidates.resize(most);
    }
    closed = std::min(closed, std::max<size_t>(4, size_t(MOST_PAIRS) / candidates.size()));
    bool open = node.begun[from].open;
    ways.clear();
    for (size_t h = 0; h < closed; h++) {
        for (size_t c = 0; c < candidates.size(); c++) {
            float more = candidates[c].cost + nats(before[h].state, candidates[c]);
            ways.push_back({before[h].cost + more, int32_t(h), uint32_t(c)});
        }
    }
    size_t keep = std::min(ways.size(), size_t(width) * 2);
    std::nth_element(ways.begin(), ways.begin() + long(keep) - 1, ways.end(),
                     [](const Way &a, const Way &b) { return a.cost < b.cost; });
    for (size_t i = 0; i < keep; i++) {
        const Candidate &c = candidates[ways[i].candidate];
        const Hypothesis &back = before[size_t(ways[i].back)];
        const haina_trie &trie = *tries[c.trie];
        uint64_t text = say(back.text, trie.chars, trie.char_start[c.word], trie.char_start[c.word + 1]);
        State state;   // filled in by settle, for those that stay
        state.word = c.known < 0 ? prior->other : uint32_t(c.known);
        node.hypotheses.push_back({ways[i].cost, start, ways[i].back, int32_t(c.word), c.trie, uint8_t(open), text, state});
    }
}

// Keys that stay as they were typed.
void haina_lattice::literal(Node &node, const haina_edge &edge) {
    auto &before = nodes[size_t(edge.from)].hypotheses;
    for (size_t h = 0; h < before.size() && !before[h].open; h++) {
        uint64_t text = (before[h].text + uint64_t(edge.from) + 0x110000) * ODD;
        State state;
        state.word = uint32_t(-1 - edge.syllable);
        node.hypotheses.push_back({before[h].cost + edge.cost, edge.from, int32_t(h), -1, 0, 0, text, state});
    }
}

// The best `width` texts, the closed before the open.
void haina_lattice::settle(Node &node) {
    auto &all = node.hypotheses;
    std::sort(all.begin(), all.end(), [](const Hypothesis &a, const Hypothesis &b) { return a.cost < b.cost; });
    std::vector<uint64_t> seen;
    size_t kept = 0;
    for (size_t i = 0; i < all.size() && kept < size_t(width) && all[i].cost < all[0].cost + WORST; i++) {
        if (std::find(seen.begin(), seen.end(), all[i].text) != seen.end()) continue;
        seen.push_back(all[i].text);
        all[kept++] = all[i];
    }
    all.resize(kept);
    std::stable_partition(all.begin(), all.end(), [](const Hypothesis &h) { return !h.open; });
    for (Hypothesis &h : all) h.state = after(*prior, nodes[size_t(h.start)].hypotheses[size_t(h.back)].state, h.state.word);
}

void haina_lattice::add(int32_t edges, const haina_edge *edge) {
    Node node;
    for (int32_t i = 0; i < edges; i++) {
        if (edge[i].syllable < 0) literal(node, edge[i]);
        else follow(node, edge[i]);
    }
    auto &begun = node.begun;
    std::sort(begun.begin(), begun.end(), [](const Begun &a, const Begun &b) {
        if (a.start != b.start) return a.start < b.start;
        if (a.open != b.open) return a.open < b.open;
        if (a.trie != b.trie) return a.trie < b.trie;
        return a.node != b.node ? a.node < b.node : a.cost < b.cost;
    });
    auto same = [](const Begun &a, const Begun &b) {
        return a.start == b.start && a.trie == b.trie && a.node == b.node && a.open == b.open;
    };
    begun.erase(std::unique(begun.begin(), begun.end(), same), begun.end());
    for (size_t from = 0, to; from < begun.size(); from = to) {
        to = from;
        while (to < begun.size() && begun[to].start == begun[from].start && begun[to].open == begun[from].open) to++;
        collect(node, begun[from].start, from, to);
    }
    if (!node.hypotheses.empty()) settle(node);
    int32_t here = int32_t(nodes.size());
    if (!node.hypotheses.empty() && !node.hypotheses[0].open) {
        for (uint8_t trie = 0; trie < 2; trie++)
            if (tries[trie]) node.begun.push_back({here, 0, 0, trie, 0});
    }
    nodes.push_back(std::move(node));
}

extern "C" {

haina_lattice *haina_lattice_new(const haina_prior *prior, const haina_trie *trie, const haina_trie *user, int32_t width,
                                 const uint32_t *context, int32_t words) {
    try {
        auto *lattice = new haina_lattice{prior, {trie, user}, width, {}, {}, {}};
        State state = after(*prior, State(), prior->boundary);
        for (int32_t i = 0; i < words; i++) state = after(*prior, state, context[i]);
        Node root;
        root.hypotheses.push_back({0, -1, -1, -1, 0, 0, 0, state});
        root.begun.push_back({0, 0, 0, 0, 0});
        if (user) root.begun.push_back({0, 0, 0, 1, 0});
        lattice->nodes.push_back(std::move(root));
        return lattice;
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

void haina_lattice_free(haina_lattice *lattice) { delete lattice; }

int haina_lattice_add(haina_lattice *lattice, const haina_edge *edge, int32_t edges) {
    int32_t here = int32_t(lattice->nodes.size());
    for (int32_t i = 0; i < edges; i++)
        if (edge[i].from < 0 || edge[i].from >= here) return HAINA_BAD_ARGUMENT;
    try {
        lattice->add(edges, edge);
    } catch (const std::bad_alloc &) {
        return HAINA_NO_MEMORY;
    }
    return HAINA_OK;
}

int haina_lattice_cut(haina_lattice *lattice, int32_t nodes) {
    if (nodes < 0 || size_t(nodes) + 1 > lattice->nodes.size()) return HAINA_BAD_ARGUMENT;
    lattice->nodes.resize(size_t(nodes) + 1);
    return HAINA_OK;
}

int haina_lattice_best(const haina_lattice *lattice, int32_t at, int32_t most, float ending, float *costs, int32_t *count,
                       haina_typed *words, int32_t *word_count) {
    if (at < 0 || size_t(at) >= lattice->nodes.size()) return HAINA_BAD_ARGUMENT;
    try {
        std::vector<std::pair<float, const Hypothesis *>> all;
        for (const Hypothesis &h : lattice->nodes[size_t(at)].hypotheses) {
            float end = ending * cost(*lattice->prior, h.state, lattice->prior->boundary);
            all.push_back({h.cost + end, &h});
        }
        std::stable_sort(all.begin(), all.end(), [](const auto &a, const auto &b) {
            return a.second->open != b.second->open ? a.second->open < b.second->open : a.first < b.first;
        });
        *count = int32_t(std::min(all.size(), size_t(most)));
        for (size_t i = 0; i < size_t(*count); i++) {
            costs[i] = all[i].first;
            word_count[i] = 0;
            const Hypothesis *h = all[i].second;
            for (int32_t node = at; h->start >= 0; word_count[i]++) {
                words[i * size_t(at) + size_t(word_count[i])] = {h->start, node, h->word, h->trie};
                node = h->start;
                h = &lattice->nodes[size_t(h->start)].hypotheses[size_t(h->back)];
            }
        }
    } catch (const std::bad_alloc &) {
        return HAINA_NO_MEMORY;
    }
    return HAINA_OK;
}

int haina_lattice_words(haina_lattice *lattice, int32_t from, int32_t at, int32_t most, float *costs,
                        haina_typed *words, int32_t *count) {
    if (from < 0 || from >= at || size_t(at) >= lattice->nodes.size()) return HAINA_BAD_ARGUMENT;
    const Node &node = lattice->nodes[size_t(at)];
    const auto &before = lattice->nodes[size_t(from)].hypotheses;
    *count = 0;
    if (before.empty() || before[0].open) return HAINA_OK;
    try {
        auto is = [&](const Begun &b) { return b.start == from; };
        auto first = std::find_if(node.begun.begin(), node.begun.end(), is);
        auto last = std::find_if_not(first, node.begun.end(), is);
        lattice->gather(node, size_t(first - node.begun.begin()), size_t(last - node.begun.begin()));
        auto &found = lattice->candidates;
        for (Candidate &c : found) c.cost += lattice->nats(before[0].state, c);
        size_t keep = std::min(found.size(), size_t(most));
        std::partial_sort(found.begin(), found.begin() + long(keep), found.end(),
                          [](const Candidate &a, const Candidate &b) { return a.cost < b.cost; });
        for (size_t i = 0; i < keep; i++) {
            costs[i] = found[i].cost;
            words[i] = {from, at, int32_t(found[i].word), found[i].trie};
        }
        *count = int32_t(keep);
    } catch (const std::bad_alloc &) {
        return HAINA_NO_MEMORY;
    }
    return HAINA_OK;
}

int haina_prior_cost(const haina_prior *prior, const uint32_t *words, int32_t count, float *nats) {
    State state = after(*prior, State(), prior->boundary);
    for (int32_t i = 0; i < count; i++) {
        nats[i] = cost(*prior, state, words[i]);
        state = after(*prior, state, words[i]);
    }
    return HAINA_OK;
}

int haina_segment(const uint32_t *text, int64_t n, const uint64_t *slots, const uint32_t *slot_word, int32_t bits,
                  const float *cost_of, int32_t longest, float unknown, uint32_t *words, int64_t *count) {
    try {
        std::vector<float> best(size_t(n) + 1, 1e30f);
        std::vector<uint32_t> word(size_t(n) + 1);
        std::vector<uint8_t> length(size_t(n) + 1);
        best[0] = 0;
        uint64_t mask = (uint64_t(1) << bits) - 1;
        for (int64_t i = 0; i < n; i++) {
            uint64_t hash = 0;
            for (int32_t k = 1; k <= longest && i + k <= n; k++) {
                hash = (hash + text[i + k - 1] + 1) * ODD, hash ^= hash >> 29;
                uint64_t at = hash & mask;
                while (slots[at] && slots[at] != hash) at = (at + 1) & mask;
                float nats = slots[at] ? cost_of[slot_word[at]] : unknown;
                if (!slots[at] && k > 1) continue;
                if (best[size_t(i)] + nats >= best[size_t(i + k)]) continue;
                best[size_t(i + k)] = best[size_t(i)] + nats;
                word[size_t(i + k)] = slots[at] ? slot_word[at] : UINT32_MAX;
                length[size_t(i + k)] = uint8_t(k);
            }
        }
        int64_t found = 0;
        for (int64_t at = n; at > 0; at -= length[size_t(at)]) words[found++] = word[size_t(at)];
        std::reverse(words, words + found);
        *count = found;
    } catch (const std::bad_alloc &) {
        return HAINA_NO_MEMORY;
    }
    return HAINA_OK;
}

}  // extern "C"
