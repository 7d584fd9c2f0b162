// Drives a verilated design image after image and records everything that it says.
//
// ports.h, written by sim.device, includes the model and defines
//   Top                              the model's class
//   INPUTS(X)                        X(n, port) for every stream that enters: port__valid, port__ready, port__payload
//   OUTPUTS(X)                       X(n, port) for every stream that leaves
//   TAPS(X)                          X(n, port) for every view on a stream: port__valid, port__payload
//   INPUT_COUNT, STREAM_COUNT        how many enter; how many leave or are viewed (numbered together)
//   COUNTERS(X)                      X(slot, port, strobe) for every counter
//   SLOTS                            how many counters
//   LOADABLE                         1 when weights come in over the load stream
//
// A beat is an array of 32-bit words, lowest bits first, as Verilator keeps a payload.  A clock is: drive inputs, evaluate
// with clk low, observe, evaluate with clk high.  Nothing is dropped: beats and counts queue up until they are taken, so
// parts that work on successive images at once are told apart by order alone.

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "ports.h"
#include "verilated.h"

namespace {

template <typename Value>
constexpr std::size_t words_of(const Value&) {
    return sizeof(Value) > 4 ? 2 : 1;
}

template <std::size_t Words>
constexpr std::size_t words_of(const VlWide<Words>&) {
    return Words;
}

template <typename Value>
void put(Value& port, const uint32_t* words) {
    port = static_cast<Value>(words_of(port) == 2 ? words[0] | uint64_t{words[1]} << 32 : words[0]);
}

template <std::size_t Words>
void put(VlWide<Words>& port, const uint32_t* words) {
    for (std::size_t n = 0; n < Words; ++n) port[n] = words[n];
}

template <typename Value>
void get(const Value& port, std::vector<uint32_t>& words) {
    words.push_back(static_cast<uint32_t>(port));
    if (words_of(port) == 2) words.push_back(static_cast<uint32_t>(uint64_t{port} >> 32));
}

template <std::size_t Words>
void get(const VlWide<Words>& port, std::vector<uint32_t>& words) {
    for (std::size_t n = 0; n < Words; ++n) words.push_back(port[n]);
}

template <typename Element>
void take(std::vector<Element>& queue, Element* out, std::size_t count) {
    std::memcpy(out, queue.data(), count * sizeof(Element));
    queue.erase(queue.begin(), queue.begin() + static_cast<std::ptrdiff_t>(count));
}

enum Status { OK = 0, STALLED = 1, NOT_HELD = 2 };

// Beats that are to enter.
struct Source {
    const uint32_t* words;
    std::size_t beats, cursor = 0;
};

// Beats that were said and nobody has taken.
struct Record {
    std::vector<uint32_t> words;
    std::size_t width = 1, beats = 0, beats_per_image = 1;
};

struct Simulation {
    VerilatedContext context;
    Top top{&context};
    uint64_t clock = 0, progress = 0, random;
    uint64_t source_pause, sink_pause;  // of 2^32

    Source sources[INPUT_COUNT];
    std::size_t first_per_image;  // beats of the first input
    Record records[STREAM_COUNT];
    std::vector<uint64_t> began, ended;  // first beat of the first input, last beat of the first output
    std::size_t sent = 0;                // beats of the first output, ever
    std::vector<uint32_t> counters[SLOTS];
    Status status = OK;

#define HELD(n, port)           \
    bool waiting_##port = false; \
    std::remove_reference_t<decltype(top.port##___05Fpayload)> held_##port{};
    OUTPUTS(HELD)
#undef HELD

    bool pause(uint64_t threshold) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        return (random >> 32) < threshold;
    }

    void evaluate(int clk) {
        top.clk = clk;
        top.eval();
    }

    void reset() {
#define IDLE(n, port) top.port##___05Fvalid = 0;
        INPUTS(IDLE)
#undef IDLE
#define IDLE(n, port) top.port##___05Fready = 0, records[n].width = words_of(top.port##___05Fpayload);
        OUTPUTS(IDLE)
#undef IDLE
#define IDLE(n, port) records[n].width = words_of(top.port##___05Fpayload);
        TAPS(IDLE)
#undef IDLE
        top.rst = 1;
        for (int n = 0; n < 4; ++n) evaluate(0), evaluate(1);
        top.rst = 0;
    }

    void tick() {
#define DRIVE(n, port)                                                                              \
    if (!top.port##___05Fvalid && sources[n].cursor < sources[n].beats && !pause(source_pause)) {  \
        top.port##___05Fvalid = 1;                                                                  \
        put(top.port##___05Fpayload, sources[n].words + sources[n].cursor * words_of(top.port##___05Fpayload)); \
    }
        INPUTS(DRIVE)
#undef DRIVE
#define DRIVE(n, port) top.port##___05Fready = !pause(sink_pause);
        OUTPUTS(DRIVE)
#undef DRIVE
        evaluate(0);
        bool accepted[INPUT_COUNT];
#define ACCEPT(n, port) accepted[n] = top.port##___05Fvalid && top.port##___05Fready;
        INPUTS(ACCEPT)
#undef ACCEPT
        observe(accepted);
        evaluate(1);
        ++clock;
#define ADVANCE(n, port) \
    if (accepted[n]) ++sources[n].cursor, top.port##___05Fvalid = 0;
        INPUTS(ADVANCE)
#undef ADVANCE
    }

    void observe(const bool* accepted) {
        for (int n = 0; n < INPUT_COUNT; ++n)
            if (accepted[n]) progress = clock;
        if (accepted[0] && sources[0].cursor % first_per_image == 0) began.push_back(clock);
#define SAMPLE(n, port)                                                                                \
    if (waiting_##port && (!top.port##___05Fvalid || top.port##___05Fpayload != held_##port)) status = NOT_HELD; \
    waiting_##port = top.port##___05Fvalid && !top.port##___05Fready;                                  \
    if (waiting_##port) held_##port = top.port##___05Fpayload;                                         \
    if (top.port##___05Fvalid && top.port##___05Fready) {                                              \
        say(n, top.port##___05Fpayload);                                                               \
        if (n == 0 && ++sent % records[0].beats_per_image == 0) ended.push_back(clock);                \
    }
        OUTPUTS(SAMPLE)
#undef SAMPLE
#define SAMPLE(n, port) \
    if (top.port##___05Fvalid) say(n, top.port##___05Fpayload);
        TAPS(SAMPLE)
#undef SAMPLE
#define SAMPLE(slot, port, strobe) \
    if (top.strobe) counters[slot].push_back(top.port), progress = clock;
        COUNTERS(SAMPLE)
#undef SAMPLE
    }

    template <typename Value>
    void say(int n, const Value& payload) {
        get(payload, records[n].words);
        ++records[n].beats;
        progress = clock;
    }

    // Everything about `images` more images has been said.
    bool has(std::size_t images) const {
        if (ended.size() < images) return false;
        for (const Record& record : records)
            if (record.beats < images * record.beats_per_image) return false;
#define CHECK(slot, port, strobe) \
    if (counters[slot].size() < images) return false;
        COUNTERS(CHECK)
#undef CHECK
        return true;
    }
};

}  // namespace

extern "C" {

// words, beats: of every input, all images; in_per_image: beats of the first input; out_per_image: beats of every stream
// that leaves or is viewed; argument: a plusarg for the model.
Simulation* simulation_new(const uint32_t* const* words, const std::size_t* beats, std::size_t in_per_image,
                           const std::size_t* out_per_image, uint64_t seed, uint64_t source_pause,
                           uint64_t sink_pause, const char* argument) {
    auto* s = new Simulation;
    const char* arguments[] = {"model", argument};
    s->context.commandArgs(2, arguments);
    for (int n = 0; n < INPUT_COUNT; ++n) s->sources[n].words = words[n], s->sources[n].beats = beats[n];
    for (int n = 0; n < STREAM_COUNT; ++n) s->records[n].beats_per_image = out_per_image[n];
    s->first_per_image = in_per_image;
    s->random = seed * 0x9e3779b97f4a7c15u + 1;
    s->source_pause = source_pause, s->sink_pause = sink_pause;
    s->reset();
    return s;
}

void simulation_delete(Simulation* s) { delete s; }

// More images, once everything that was given before has entered; returns whether it has.
int simulation_feed(Simulation* s, const uint32_t* const* words, const std::size_t* beats) {
    for (const Source& source : s->sources)
        if (source.cursor != source.beats) return 0;
    for (int n = 0; n < INPUT_COUNT; ++n) s->sources[n] = {words[n], beats[n]};
    s->progress = s->clock;
    return 1;
}

// Fill the weight memories; returns the words that were accepted within `patience` clocks of each other.  A beat of the
// load stream is one 32-bit word here.
std::size_t simulation_load(Simulation* s, const uint32_t* beats, std::size_t count, uint64_t patience) {
    std::size_t done = 0;
#if LOADABLE
    Top& top = s->top;
    for (uint64_t idle = 0; done < count && idle < patience; ++idle) {
        top.load___05Fvalid = 1;
        top.load___05Fpayload = beats[done];
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

void simulation_take(Simulation* s, std::size_t images, uint64_t* began, uint64_t* ended) {
    take(s->began, began, images);
    take(s->ended, ended, images);
}

void simulation_take_counter(Simulation* s, int slot, std::size_t images, uint32_t* out) {
    take(s->counters[slot], out, images);
}

void simulation_take_stream(Simulation* s, int stream, std::size_t images, uint32_t* out) {
    Record& record = s->records[stream];
    const std::size_t beats = images * record.beats_per_image;
    take(record.words, out, beats * record.width);
    record.beats -= beats;
}

// Beats of a stream that nobody has taken.
std::size_t simulation_stream_size(Simulation* s, int stream) { return s->records[stream].beats; }

uint64_t simulation_clock(Simulation* s) { return s->clock; }

// Go on for `clocks` without input; returns how many things were said that nobody expects any more.
std::size_t simulation_leftovers(Simulation* s, uint64_t clocks) {
    for (uint64_t n = 0; n < clocks; ++n) s->tick();
    std::size_t count = s->status != OK;
    for (const Record& record : s->records) count += record.beats;
    for (const auto& queue : s->counters) count += queue.size();
    return count;
}

}  // extern "C"
