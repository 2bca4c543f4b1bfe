#include "instruction.hpp"

#include <algorithm>

#include <CLI/App.hpp>
#include "number.hpp"

namespace nvfp4::cli {
namespace {

/// The element format: the model's only one, or the one that is named.
Format element_format(const Accumulation& acc, const std::string& named, const std::string& option) {
  if (acc.sum == Summation::fp64_fma) return Format::e2m1;
  if (named.empty() && acc.elements.size() == 1) return acc.elements[0];
  std::string choice;
  for (const FormatInfo& f : formats()) {
    const bool is_element = f.format != Format::ue4m3 && f.format != Format::e8m0;
    if (!is_element ||
        (!acc.elements.empty() && std::ranges::find(acc.elements, f.format) == acc.elements.end()))
      continue;
    if (f.name == named) return f.format;
    choice += (choice.empty() ? "" : ", ") + std::string(f.name);
  }
  throw UsageError(option + (named.empty() ? "" : " " + named) + ": expected " + choice +
                   ", the elements that " + std::string(acc.name) + " takes");
}

Accumulation with_accumulator(const Accumulation& model, const std::string& out_dtype) {
  const std::optional<Dtype> dtype = dtype_named(out_dtype);
  if (dtype == Dtype::fp16) return fp16_accumulator(model);
  if (dtype != Dtype::fp32) throw UsageError("--out-dtype " + out_dtype + ": expected fp32 or fp16");
  return model;
}

}  // namespace

void declare_instruction_formats(CLI::App& app, InstructionFormats& formats) {
  app.add_option("--a-format", formats.a,
                 "e2m1|e2m3|e3m2|e4m3|e5m2|fp16|bf16|tf32, where the model leaves a choice")
      ->type_name("NAME");
  app.add_option("--b-format", formats.b, "the same of B")->type_name("NAME");
  app.add_option("--out-dtype", formats.out_dtype, "fp32|fp16: the accumulator, of C and D")
      ->capture_default_str();
}

Instruction instruction(const Accumulation& model, const InstructionFormats& formats) {
  return {with_accumulator(model, formats.out_dtype), element_format(model, formats.a, "--a-format"),
          element_format(model, formats.b, "--b-format")};
}

}  // namespace nvfp4::cli
