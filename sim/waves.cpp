// Runs one image through a verilated accelerator without pauses and writes what its ports do as a VCD file.
//
// ports.h, written by sim.waves, includes the model and defines
//   Top           the model's class
//   SIGNALS(X)    X(port, bits, when) for every port, in the order of the declarations that Python wrote: it is
//                 shown in the clocks in which `when` is true
//   STROBES(X)    X(n, port) for every strobe of counters; each comes once an image, some after the last score
//   STROBE_COUNT  how many
//   LOADABLE      1 when weights come in over the load stream
//
// The declarations are in the file already; here follow the values: of a clock when its inputs are there, changes only.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "ports.h"
#include "verilated.h"

namespace {

template <typename Value>
std::string digits(const Value& value) {
    std::string text;
    for (uint64_t rest = value; rest; rest >>= 1) text.insert(text.begin(), rest & 1 ? '1' : '0');
    return text.empty() ? "0" : text;
}

template <std::size_t Words>
std::string digits(const VlWide<Words>& value) {
    std::string text;
    for (int bit = int(Words) * 32 - 1; bit >= 0; --bit)
        if (value[bit / 32] >> bit % 32 & 1 || !text.empty()) text += value[bit / 32] >> bit % 32 & 1 ? '1' : '0';
    return text.empty() ? "0" : text;
}

struct Waves {
    VerilatedContext context;
    Top top{&context};
    std::FILE* file;
    uint64_t period;
    std::vector<std::string> shown;

    void evaluate(int clk) {
        top.clk = clk;
        top.eval();
    }

    // A clock that is shown: its values from the falling edge on, the rising edge half a period later.
    void show(uint64_t clock) {
        std::fprintf(file, "#%llu\n0!\n", static_cast<unsigned long long>(clock * period));
        std::size_t number = 0;
#define SHOW(port, bits, when)                      \
    if (when) value(number, bits, digits(top.port)); \
    ++number;
        SIGNALS(SHOW)
#undef SHOW
        std::fprintf(file, "#%llu\n1!\n", static_cast<unsigned long long>(clock * period + period / 2));
    }

    void value(std::size_t number, int bits, std::string text) {
        if (number >= shown.size()) shown.resize(number + 1);
        if (shown[number] == text) return;
        std::fprintf(file, bits > 1 ? "b%s s%zu\n" : "%ss%zu\n", text.c_str(), number);
        shown[number] = std::move(text);
    }
};

}  // namespace

// codes: of the image, one a beat; load: beats of the load stream; scores: beats of the output; argument: a plusarg for the
// model; period: in the file's unit.  Returns the clocks from the first code to the last score, or 0 when nothing moved
// for `patience` clocks.
extern "C" uint64_t waves_record(const char* path, const char* argument, const uint8_t* codes, std::size_t count,
                                 const uint32_t* load, std::size_t load_count, std::size_t scores, uint64_t period,
                                 uint64_t patience) {
    auto waves = std::make_unique<Waves>();
    const char* arguments[] = {"model", argument};
    waves->context.commandArgs(2, arguments);
    waves->period = period;
    Top& top = waves->top;
    top.i___05Fvalid = 0, top.o___05Fready = 1, top.rst = 1;
    for (int n = 0; n < 4; ++n) waves->evaluate(0), waves->evaluate(1);
    top.rst = 0;
#if LOADABLE
    for (std::size_t done = 0; done < load_count;) {
        top.load___05Fvalid = 1, top.load___05Fpayload = load[done];
        waves->evaluate(0);
        done += top.load___05Fready;
        waves->evaluate(1);
    }
    top.load___05Fvalid = 0;
#endif
    waves->file = std::fopen(path, "a");
    if (!waves->file) return 0;
    std::size_t sent = 0, said = 0, counted = 0;
    bool seen[STROBE_COUNT] = {};
    uint64_t clock = 0, progress = 0, ended = 0;
    for (; (said < scores || counted < STROBE_COUNT) && clock - progress < patience; ++clock) {
        top.i___05Fvalid = sent < count;
        if (sent < count) top.i___05Fpayload = codes[sent];
        waves->evaluate(0);
        waves->show(clock);
        const bool taken = top.i___05Fvalid && top.i___05Fready;
        const bool given = top.o___05Fvalid && top.o___05Fready;
#define SEE(n, port) \
    if (top.port && !seen[n]) seen[n] = true, ++counted, progress = clock;
        STROBES(SEE)
#undef SEE
        waves->evaluate(1);
        if (taken || given) progress = clock;
        sent += taken, said += given;
        if (given && said == scores) ended = clock + 1;
    }
    const bool written = !std::ferror(waves->file);
    return std::fclose(waves->file) == 0 && written && counted == STROBE_COUNT ? ended : 0;
}
