// Drives a verilated accelerator image after image and records everything that it says.
//
// ports.h, written from the manifest, includes the model and defines
//   Top                              the model's class
//   CLASSES                          beats per image on the output stream
//   SCORE_OFFSET, SCORE_WIDTH, BEST_OFFSET, BEST_WIDTH, LAST_OFFSET     fields of an output beat
//   LAYERS, SLOTS                    layers, and counters of a layer
//   COUNTERS(X)                      X(layer, slot, port, strobe) for every counter
//   TAPS(X)                          X(layer, valid, payload, codes, code_width, codes_per_image) for every tap
//   LOADABLE                         1 when weights come in over the load stream
//
// A clock is: drive inputs, evaluate with clk low, observe, evaluate with clk high.  Nothing is dropped: outputs, counters
// and taps queue up until they are taken, so layers that work on successive images at once are told apart by order alone.

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "ports.h"
#include "verilated.h"

namespace {

uint64_t mask(int width) { return width >= 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1; }

template <typename Value>
uint64_t bits(const Value& value, int offset, int width) {
    return (static_cast<uint64_t>(value) >> offset) & mask(width);
}

template <std::size_t Words>
uint64_t bits(const VlWide<Words>& value, int offset, int width) {
    uint64_t result = 0;
    for (int n = 0; n < width; ++n) {
        const int bit = offset + n;
        result |= static_cast<uint64_t>(value[bit / 32] >> (bit % 32) & 1) << n;
    }
    return result;
}

int64_t extend(uint64_t value, int width) {
    return static_cast<int64_t>(value << (64 - width)) >> (64 - width);
}

template <typename Element>
void take(std::vector<Element>& queue, Element* out, std::size_t count) {
    std::memcpy(out, queue.data(), count * sizeof(Element));
    queue.erase(queue.begin(), queue.begin() + static_cast<std::ptrdiff_t>(count));
}

enum Status { OK = 0, STALLED = 1, NOT_HELD = 2 };

struct Simulation {
    VerilatedContext context;
    Top top{&context};
    uint64_t clock = 0, progress = 0, random;
    uint64_t source_pause, sink_pause;  // of 2^32

    const uint8_t* input;
    std::size_t input_size, image_size, cursor = 0;

    std::vector<int64_t> scores;
    std::vector<uint32_t> best;
    std::vector<uint8_t> last;
    std::vector<uint64_t> began, ended;
    std::vector<uint32_t> counters[LAYERS][SLOTS];
    std::vector<uint8_t> taps[LAYERS];

    std::size_t beats = 0;
    bool stalled_beat = false;
    std::remove_reference_t<decltype(top.o___05Fpayload)> held{};
    Status status = OK;

    bool pause(uint64_t threshold) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        return (random >> 32) < threshold;
    }

    void evaluate(int clk) {
        top.clk = clk;
        top.eval();
    }

    void reset() {
        top.i___05Fvalid = 0, top.o___05Fready = 0, top.rst = 1;
        for (int n = 0; n < 4; ++n) evaluate(0), evaluate(1);
        top.rst = 0;
    }

    void tick() {
        if (!top.i___05Fvalid && cursor < input_size && !pause(source_pause)) {
            top.i___05Fvalid = 1;
            top.i___05Fpayload = input[cursor];
        }
        top.o___05Fready = !pause(sink_pause);
        evaluate(0);
        const bool accepted = top.i___05Fvalid && top.i___05Fready;
        observe(accepted);
        evaluate(1);
        ++clock;
        if (accepted) {
            ++cursor;
            top.i___05Fvalid = 0;
        }
    }

    void observe(bool accepted) {
        if (accepted) {
            if (cursor % image_size == 0) began.push_back(clock);
            progress = clock;
        }
        if (stalled_beat && !(top.o___05Fvalid && top.o___05Fpayload == held)) status = NOT_HELD;
        held = top.o___05Fpayload;
        stalled_beat = top.o___05Fvalid && !top.o___05Fready;
        if (top.o___05Fvalid && top.o___05Fready) {
            scores.push_back(extend(bits(held, SCORE_OFFSET, SCORE_WIDTH), SCORE_WIDTH));
            best.push_back(static_cast<uint32_t>(bits(held, BEST_OFFSET, BEST_WIDTH)));
            last.push_back(static_cast<uint8_t>(bits(held, LAST_OFFSET, 1)));
            if (++beats % CLASSES == 0) ended.push_back(clock);
            progress = clock;
        }
#define SAMPLE(layer, slot, port, strobe) \
    if (top.strobe) counters[layer][slot].push_back(top.port), progress = clock;
        COUNTERS(SAMPLE)
#undef SAMPLE
#define SAMPLE(layer, valid, payload, codes, width, per_image)                                 \
    if (top.valid) {                                                                           \
        for (int n = 0; n < codes; ++n)                                                        \
            taps[layer].push_back(static_cast<uint8_t>(bits(top.payload, n * width, width))); \
        progress = clock;                                                                      \
    }
        TAPS(SAMPLE)
#undef SAMPLE
    }

    // Everything about `images` more images has been said.
    bool has(std::size_t images) const {
        if (ended.size() < images) return false;
#define CHECK(layer, slot, port, strobe) \
    if (counters[layer][slot].size() < images) return false;
        COUNTERS(CHECK)
#undef CHECK
#define CHECK(layer, valid, payload, codes, width, per_image) \
    if (taps[layer].size() < images * per_image) return false;
        TAPS(CHECK)
#undef CHECK
        return true;
    }
};

}  // namespace

extern "C" {

Simulation* simulation_new(const uint8_t* input, std::size_t input_size, std::size_t image_size, uint64_t seed,
                           uint64_t source_pause, uint64_t sink_pause) {
    auto* s = new Simulation;
    s->input = input, s->input_size = input_size, s->image_size = image_size;
    s->random = seed * 0x9e3779b97f4a7c15u + 1;
    s->source_pause = source_pause, s->sink_pause = sink_pause;
    s->reset();
    return s;
}

void simulation_delete(Simulation* s) { delete s; }

// Fill the weight memories; returns the words that were accepted within `patience` clocks of each other.
std::size_t simulation_load(Simulation* s, const uint16_t* words, std::size_t count, uint64_t patience) {
    std::size_t done = 0;
#if LOADABLE
    Top& top = s->top;
    for (uint64_t idle = 0; done < count && idle < patience; ++idle) {
        top.load___05Fvalid = 1;
        top.load___05Fpayload = LOAD_WORD(words[done], done == 0);
        s->evaluate(0);
        const bool accepted = top.load___05Fready;
        s->evaluate(1);
        ++s->clock;
        if (accepted) ++done, idle = 0;
    }
    top.load___05Fvalid = 0;
    s->progress = s->clock;
#endif
    return done;
}

// Run until `images` more images are complete; fails when nothing moves for `patience` clocks.
int simulation_advance(Simulation* s, std::size_t images, uint64_t patience) {
    bool complete = s->has(images);
    while (s->status == OK && !complete) {
        s->tick();
        if (s->progress + 1 == s->clock)  // something was said in this clock
            complete = s->has(images);
        else if (s->clock - s->progress > patience)
            return STALLED;
    }
    return s->status;
}

void simulation_take(Simulation* s, std::size_t images, int64_t* scores, uint32_t* best, uint8_t* last,
                     uint64_t* began, uint64_t* ended) {
    take(s->scores, scores, images * CLASSES);
    take(s->best, best, images * CLASSES);
    take(s->last, last, images * CLASSES);
    take(s->began, began, images);
    take(s->ended, ended, images);
}

void simulation_take_counter(Simulation* s, int layer, int slot, std::size_t images, uint32_t* out) {
    take(s->counters[layer][slot], out, images);
}

void simulation_take_tap(Simulation* s, int layer, std::size_t codes, uint8_t* out) {
    take(s->taps[layer], out, codes);
}

// Codes that a tap has said and nobody has taken.
std::size_t simulation_tap_size(Simulation* s, int layer) { return s->taps[layer].size(); }

uint64_t simulation_clock(Simulation* s) { return s->clock; }

// Go on for `clocks` without input; returns how many things were said that nobody expects any more.
std::size_t simulation_leftovers(Simulation* s, uint64_t clocks) {
    for (uint64_t n = 0; n < clocks; ++n) s->tick();
    std::size_t count = s->scores.size() + (s->status != OK);
    for (int layer = 0; layer < LAYERS; ++layer) {
        count += s->taps[layer].size();
        for (const auto& queue : s->counters[layer]) count += queue.size();
    }
    return count;
}

}  // extern "C"
