// libime (Fcitx 5) as an opponent: keys a line on stdin, typed one by one; its candidates and milliseconds of CPU as JSON.
#include <ctime>
#include <iostream>
#include <libime/core/languagemodel.h>
#include <libime/core/userlanguagemodel.h>
#include <libime/pinyin/pinyincontext.h>
#include <libime/pinyin/pinyindictionary.h>
#include <libime/pinyin/pinyinime.h>
#include <memory>
#include <set>
#include <string>

constexpr int MOST = 10;

int main(int, char **argv) {   // argv: the dictionary, the language model
    libime::PinyinIME ime(std::make_unique<libime::PinyinDictionary>(),
                          std::make_unique<libime::UserLanguageModel>(argv[2]));
    ime.setNBest(MOST);
    ime.setFuzzyFlags(libime::PinyinFuzzyFlag::Inner);
    ime.dict()->load(libime::PinyinDictionary::SystemDict, argv[1], libime::PinyinDictFormat::Binary);
    for (std::string keys; std::getline(std::cin, keys);) {
        libime::PinyinContext context(&ime);
        std::string ms;
        for (char key : keys) {
            auto start = std::clock();
            context.type(std::string(1, key));
            auto seen = context.candidates().size();
            double took = 1e3 * double(std::clock() - start) / CLOCKS_PER_SEC;
            ms += (ms.empty() ? "" : ",") + std::to_string(took + 0 * seen);
        }
        std::cout << "{\"candidates\":[";
        std::set<std::string> said;
        for (const auto &candidate : context.candidates()) {
            auto text = candidate.toString();
            if (int(said.size()) == MOST || !said.insert(text).second) continue;
            std::cout << (said.size() > 1 ? ",\"" : "\"") << text << '"';
        }
        std::cout << "],\"key_ms\":[" << ms << "]}" << std::endl;
    }
}
