"""An accelerator inside a system on chip: AXI4-Stream and AXI4-Lite, or Wishbone, around `hw.accelerator`."""
