// Behavioural models of the memory macros that a design of hw.macros instantiates; a memory compiler replaces them.
//
// Every access takes one clock, and read data hold until the next read.  A word that is read in the clock in which it is
// written reads as it was; no design relies on that.  CONTENTS is a file of $readmemh, one word a line, in the folder that
// the simulator's argument +contents=DIR names (default: the current one).  Ports are called as those of Yosys' memories;
// dynports tells Yosys, which sees the ports alone, that their widths follow from the parameters.

// Constant contents, one read port: a ROM, or an SRAM that something else fills before use.
(* dynports *)
module sram_1r #(
    parameter WORDS = 2,
    parameter WIDTH = 1,
    parameter CONTENTS = ""
) (
    input RD_CLK,
    input RD_EN,
    input [$clog2(WORDS)-1:0] RD_ADDR,
    output reg [WIDTH-1:0] RD_DATA
);
`ifndef SYNTHESIS
    reg [WIDTH-1:0] words [0:WORDS-1];
    string folder;

    initial begin
        if (!$value$plusargs("contents=%s", folder)) folder = ".";
        $readmemh($sformatf("%s/%s", folder, CONTENTS), words);
    end

    always @(posedge RD_CLK) if (RD_EN) RD_DATA <= words[RD_ADDR];
`endif
endmodule

// One read and one write port; bit n of WR_EN writes the n-th of LANES equal parts of the word.
// Without CONTENTS every bit is one at start: nothing may rely on what a memory holds before it is written.
(* dynports *)
module sram_1r1w #(
    parameter WORDS = 2,
    parameter WIDTH = 1,
    parameter LANES = 1,
    parameter CONTENTS = ""
) (
    input RD_CLK,
    input RD_EN,
    input [$clog2(WORDS)-1:0] RD_ADDR,
    output reg [WIDTH-1:0] RD_DATA,
    input WR_CLK,
    input [LANES-1:0] WR_EN,
    input [$clog2(WORDS)-1:0] WR_ADDR,
    input [WIDTH-1:0] WR_DATA
);
`ifndef SYNTHESIS
    localparam PART = WIDTH / LANES;
    reg [WIDTH-1:0] words [0:WORDS-1];
    string folder;
    integer n;

    initial
        if (CONTENTS == "")
            for (n = 0; n < WORDS; n = n + 1) words[n] = {WIDTH{1'b1}};
        else begin
            if (!$value$plusargs("contents=%s", folder)) folder = ".";
            $readmemh($sformatf("%s/%s", folder, CONTENTS), words);
        end

    genvar lane;
    generate
        for (lane = 0; lane < LANES; lane = lane + 1) begin : part
            always @(posedge WR_CLK)
                if (WR_EN[lane]) words[WR_ADDR][lane*PART +: PART] <= WR_DATA[lane*PART +: PART];
        end
    endgenerate

    always @(posedge RD_CLK) if (RD_EN) RD_DATA <= words[RD_ADDR];
`endif
endmodule

// One port: a clock reads or writes, and nothing reads and writes at once.  Bit n of WR_EN writes PART bits of the word from
// n * PART on; the last part may be shorter.  Every bit is one at start.
(* dynports *)
module sram_1rw #(
    parameter WORDS = 2,
    parameter WIDTH = 1,
    parameter PART = 1
) (
    input CLK,
    input RD_EN,
    input [(WIDTH+PART-1)/PART-1:0] WR_EN,
    input [$clog2(WORDS)-1:0] ADDR,
    input [WIDTH-1:0] WR_DATA,
    output reg [WIDTH-1:0] RD_DATA
);
`ifndef SYNTHESIS
    reg [WIDTH-1:0] words [0:WORDS-1];
    integer n;

    initial for (n = 0; n < WORDS; n = n + 1) words[n] = {WIDTH{1'b1}};

    genvar first;
    generate
        for (first = 0; first < WIDTH; first = first + PART) begin : part
            localparam BITS = WIDTH - first < PART ? WIDTH - first : PART;
            always @(posedge CLK) if (WR_EN[first/PART]) words[ADDR][first +: BITS] <= WR_DATA[first +: BITS];
        end
    endgenerate

    always @(posedge CLK) if (RD_EN) RD_DATA <= words[ADDR];
`endif
endmodule
