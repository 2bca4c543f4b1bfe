#pragma once
#include <string>

#include <nvfp4/accumulation.hpp>

#include "command.hpp"

namespace nvfp4::cli {

/// One matrix instruction: its model, with the accumulator that was chosen, and the formats of its elements.
struct Instruction {
  Accumulation acc;
  Format a, b;  ///< E2M1 where elements are FP64, which no Format is
};

/// --a-format, --b-format and --out-dtype.
struct InstructionFormats {
  std::string a{}, b{}, out_dtype = "fp32";
};
void declare_instruction_formats(CLI::App&, InstructionFormats&);

/// Throws UsageError where the model has no such formats, or leaves a choice that is not made.
Instruction instruction(const Accumulation& model, const InstructionFormats&);

}  // namespace nvfp4::cli
