// libpinyin (ibus-libpinyin) as an opponent: keys a line on stdin, typed one by one; candidates and milliseconds of CPU as JSON.
#include <pinyin.h>

#include <ctime>
#include <iostream>
#include <set>
#include <string>

constexpr unsigned MOST = 10;

int main(int, char **argv) {   // argv: the folder of its data, an empty folder for the user's
    auto *context = pinyin_init(argv[1], argv[2]);
    pinyin_set_options(context, PINYIN_INCOMPLETE | PINYIN_CORRECT_ALL | USE_DIVIDED_TABLE | USE_RESPLIT_TABLE);
    auto *instance = pinyin_alloc_instance(context);
    for (std::string keys; std::getline(std::cin, keys);) {
        std::string ms;
        for (size_t typed = 1; typed <= keys.size(); typed++) {
            auto start = std::clock();
            pinyin_parse_more_full_pinyins(instance, keys.substr(0, typed).c_str());
            pinyin_guess_sentence(instance);
            pinyin_guess_candidates(instance, 0, SORT_BY_PHRASE_LENGTH_AND_PINYIN_LENGTH_AND_FREQUENCY);
            double took = 1e3 * double(std::clock() - start) / CLOCKS_PER_SEC;
            ms += (ms.empty() ? "" : ",") + std::to_string(took);
        }
        guint count = 0;
        pinyin_get_n_candidate(instance, &count);
        std::set<std::string> said;
        std::cout << "{\"candidates\":[";
        for (guint i = 0; i < count && said.size() < MOST; i++) {
            lookup_candidate_t *candidate = nullptr;
            const char *text = nullptr;
            pinyin_get_candidate(instance, i, &candidate);
            pinyin_get_candidate_string(instance, candidate, &text);
            if (text && said.insert(text).second) std::cout << (said.size() > 1 ? ",\"" : "\"") << text << '"';
        }
        std::cout << "],\"key_ms\":[" << ms << "]}" << std::endl;
        pinyin_reset(instance);
    }
    pinyin_free_instance(instance);
    pinyin_fini(context);
}
