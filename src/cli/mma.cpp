#include <bit>
#include <memory>

#include <CLI/App.hpp>
#include <nvfp4/io.hpp>
#include <nvfp4/kernels.hpp>

#include "command.hpp"
#include "device.hpp"
#include "instruction.hpp"
#include "mma_file.hpp"
#include "model_table.hpp"
#include "number.hpp"
#include "terminal.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string file, model, select, output, device = "cpu";
  InstructionFormats formats;
  bool force = false;
};

/// Where two results part first; the outputs of a tile lie together, of a step before those of the next.
struct Comparison {
  std::int64_t outputs = 0, mismatches = 0;
  Json first = nullptr;
  std::string text;
};

std::string value_text(std::uint64_t code, const Accumulation& acc) {
  if (code_bits(acc) == 64) return std::to_string(std::bit_cast<double>(code));
  auto bits = static_cast<std::uint32_t>(code);
  if (code_bits(acc) == 32) return shortest(std::bit_cast<float>(bits));
  float value = 0;
  cpu_kernels().decode({&bits, 1}, Format::fp16, {&value, 1});
  return shortest(value);
}

std::string code_text(std::uint64_t code, const Accumulation& acc) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%0*llX", code_bits(acc) / 4, static_cast<unsigned long long>(code));
  return text;
}

void note_first(Comparison& found, const MmaFile& x, const Accumulation& acc, std::int64_t index,
                std::int64_t steps, std::uint64_t expected, std::uint64_t actual) {
  const std::int64_t tile = x.rows * x.cols, step = index / tile % steps;
  found.first = {{"tile", index / tile / steps}, {"row", index % tile / x.cols}, {"col", index % x.cols}};
  if (steps > 1) found.first["step"] = step;
  found.text = "tile " + std::to_string(index / tile / steps) +
               (steps > 1 ? ", step " + std::to_string(step) : "") + ", row " +
               std::to_string(index % tile / x.cols) + ", column " + std::to_string(index % x.cols) +
               ": expected " + code_text(expected, acc) + " (" + value_text(expected, acc) + "), got " +
               code_text(actual, acc) + " (" + value_text(actual, acc) + ")";
  found.first["expected"] = code_text(expected, acc);
  found.first["actual"] = code_text(actual, acc);
}

void compare(Comparison& found, const MmaFile& x, const Accumulation& acc,
             const std::vector<std::uint64_t>& expected, const std::vector<std::uint64_t>& actual,
             std::int64_t steps) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == actual[i]) continue;
    if (found.mismatches++ == 0)
      note_first(found, x, acc, static_cast<std::int64_t>(i), steps, expected[i], actual[i]);
  }
  found.outputs += static_cast<std::int64_t>(expected.size());
}

void write_results(const Options& o, const MmaFile& x, const Accumulation& acc,
                   const std::vector<std::uint64_t>& d) {
  const GoldenArray array = code_array("D", d, code_bits(acc), x.shape);
  const io::ArrayView view{array.info, array.bytes};
  io::write_arrays(o.output, {&view, 1}, o.force ? io::Overwrite::yes : io::Overwrite::no);
}

Outcome report(const Options& o, const Accumulation& acc, const Comparison& found, bool compared) {
  Outcome outcome{.exit_code = found.mismatches ? 1 : 0};
  outcome.to_stdout = o.output == "-";
  outcome.json = {{"outputs", found.outputs},    {"mismatches", found.mismatches},
                  {"first", found.first},        {"compared", compared},
                  {"model", acc.name},           {"evidence", acc.evidence},
                  {"confidence", acc.confidence}};
  outcome.text =
      std::string(acc.name) + ": " + thousands(found.outputs) + " outputs" +
      (compared ? ", " + thousands(found.mismatches) + " mismatches" : ", nothing to compare with") +
      "\nevidence: " + std::string(acc.evidence) + "\n";
  if (!compared) return outcome;
  if (found.mismatches) outcome.text += "first: " + found.text + "\n";
  outcome.text +=
      (found.mismatches ? coloured(Colour::red, "differs") : coloured(Colour::green, "equal")) + "\n";
  return outcome;
}

Outcome run(const Options& o) {
  const Kernels& kernels = kernels_of(o.device);
  const auto [acc, a, b] = instruction(model_named(o.model, "--model"), o.formats);
  const auto file = io::open_arrays(o.file);
  const MmaFile x = read_mma(*file, o.select, acc, a, b);
  const bool compared = x.d || x.d_steps;
  if (!compared && o.output.empty())
    throw UsageError(o.file + ": no D to compare with: expected -o FILE, to write it");
  Comparison found;
  std::vector<std::uint64_t> d;
  if (x.d || !o.output.empty()) d = kernels.mma(x.operands(), acc, false);
  if (x.d) compare(found, x, acc, *x.d, d, 1);
  if (x.d_steps)
    compare(found, x, acc, *x.d_steps, kernels.mma(x.operands(), acc, true), instructions(acc, x.k));
  if (!compared) found.outputs = static_cast<std::int64_t>(d.size());
  if (!o.output.empty()) write_results(o, x, acc, d);
  return report(o, acc, found, compared);
}

}  // namespace

Run declare_mma(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option(
         "FILE", o->file,
         "arrays A (tiles, M, K), B (tiles, N, K), [SFA, SFB], C (tiles, M, N), [D, D_steps], or one dot "
         "product a row: A (n, K), B (n, K), C (n), D or D_f32, D_f16")
      ->required();
  app.add_option("--model", o->model, model_names())->required()->type_name("NAME");
  app.add_option("--select", o->select, "take the arrays PREFIX.a, PREFIX.b, ...")->type_name("PREFIX");
  declare_instruction_formats(app, o->formats);
  app.add_option("-o,--output", o->output, "write D there, .npz or .safetensors, or - for stdout (.npz)");
  app.add_flag("--force", o->force, "replace an existing output");
  declare_device(app, o->device);
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
