#include <algorithm>
#include <memory>

#include <CLI/CLI.hpp>
#include <nvfp4/testing.hpp>

#include "golden_file.hpp"
#include "number.hpp"
#include "profile.hpp"
#include "stored_output.hpp"

namespace nvfp4::cli {
namespace {

struct Options {
  std::string a, b, input, array, tensor, input_dtype;
  ProfileOptions profile;
};

/// One of the two files: its arrays as they are, and the record that its manifest gives or the caller.
struct Side {
  StoredOutput stored, swizzled{};  ///< the latter's scales are empty where the file has none
  BlockScaledTensor tensor{};
  ScaleLayout layout = ScaleLayout::linear;
  std::optional<BlockScaledTensor> columns{};
};

/// The stored bytes as a tensor of this record; scales of another size are cut or filled with 0, and it is for
/// the diagnosis to find the layout in which they are right.
BlockScaledTensor as_tensor(const StoredOutput& stored, const BlockScaledTensor& record) {
  BlockScaledTensor t{record.spec,  record.dtype,  record.rows,  record.cols,
                      stored.codes, stored.scales, stored.global};
  t.scales.resize(static_cast<std::size_t>(t.rows * t.blocks_per_row()));
  return t;
}

/// Of a file without a manifest.
BlockScaledTensor record_of(const StoredOutput& stored, const QuantizeSpec& spec) {
  const std::int64_t row_bytes = static_cast<std::int64_t>(stored.codes.size()) / stored.rows;
  return {.spec = spec, .rows = stored.rows, .cols = row_bytes * 8 / nvfp4::info(spec.dialect->element).bits};
}

/// `record` stands in for a manifest that is missing, or that the arrays do not fit.
Side read_side(const io::ArrayFile& file, const BlockScaledTensor* record, const QuantizeSpec& spec) {
  Side side{.stored = stored_output(file, "")};
  if (file.contains("scales_swizzled")) {
    side.swizzled = side.stored;
    const io::Array array = file.read("scales_swizzled");
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(array.bytes.data());
    side.swizzled.scales.assign(bytes, bytes + array.bytes.size());
  }
  if (file.contains("manifest")) try {
      io::QuantizedFile q = io::read_quantized(file);
      side.tensor = std::move(q.rows);
      side.layout = q.layout;
      side.columns = std::move(q.columns);
      return side;
    } catch (const io::FileError&) {
      if (!record || side.stored.codes.size() != record->codes.size()) throw;
    }
  const bool fits = record && side.stored.codes.size() == record->codes.size();
  side.tensor = as_tensor(side.stored, fits ? *record : record_of(side.stored, record ? record->spec : spec));
  return side;
}

Json to_json(const std::vector<Diagnosis>& causes) {
  Json list = Json::array();
  for (const Diagnosis& cause : causes) list.push_back({{"code", cause.code}, {"text", cause.text}});
  return list;
}

Json to_json(const std::optional<Mismatch>& first) {
  if (!first) return nullptr;
  return {{"array", first->array},       {"row", first->row},       {"col", first->col},
          {"expected", first->expected}, {"actual", first->actual}, {"text", describe(*first)}};
}

/// What one pair of tensors adds to the answer.
struct Finding {
  std::int64_t bytes = 0, values = 0;
  Json first = nullptr;
  std::vector<Diagnosis> causes{};
  std::string text{};
};

std::string text_of(const std::vector<Diagnosis>& causes) {
  std::string text;
  for (const Diagnosis& cause : causes) text += cause.code + ": " + cause.text + '\n';
  return text;
}

bool comparable(const BlockScaledTensor& a, const BlockScaledTensor& b) {
  return a.rows == b.rows && a.cols == b.cols && a.codes.size() == b.codes.size() &&
         a.scales.size() == b.scales.size() && (b.global.empty() || a.global.size() == b.global.size());
}

std::string extent(const BlockScaledTensor& t) {
  return std::to_string(t.rows) + " x " + std::to_string(t.cols) + ", " + std::to_string(t.scales.size()) +
         " scales, " + std::to_string(t.global.size()) + " tensor scales";
}

/// Sizes part before bytes do: all that the second has counts.
Finding other_size(const BlockScaledTensor& a, const BlockScaledTensor& b, MatrixView x) {
  Finding f{static_cast<std::int64_t>(b.codes.size() + b.scales.size() + 4 * b.global.size()),
            b.rows * b.cols};
  f.causes = diagnose(a, {b}, x);
  f.text = "sizes: expected " + extent(a) + ", found " + extent(b) + '\n' + text_of(f.causes);
  return f;
}

/// `scales`: b's as they were stored, where they are not the linear ones.
Finding compared(const BlockScaledTensor& a, const BlockScaledTensor& b, std::span<const std::uint8_t> scales,
                 ScaleLayout layout, MatrixView x) {
  const bool fits = scales.size() == b.scales.size() || scales.empty() || layout != ScaleLayout::linear;
  const testing::Result arrays{
      .codes = b.codes,
      .scales = layout == ScaleLayout::linear ? std::span<const std::uint8_t>(b.scales) : scales,
      .global = b.global,
      .layout = layout};
  const testing::Report report = testing::compare(arrays, a, x);
  Finding f{report.differing_bytes, report.differing_values};
  if (!fits)
    f.bytes +=
        std::abs(static_cast<std::int64_t>(scales.size()) - static_cast<std::int64_t>(b.scales.size()));
  if (f.bytes == 0) return f;
  f.first = to_json(compare(a, b).first);
  f.causes = diagnose(a, {b, scales, layout}, x);  // by b's own record, which the report has not
  f.text = report.message.substr(0, report.message.find("suspected cause")) + text_of(f.causes);
  return f;
}

Finding find(const Side& a, const Side& b, MatrixView x) {
  if (!comparable(a.tensor, b.tensor)) return other_size(a.tensor, b.tensor, x);
  Finding f = compared(a.tensor, b.tensor, b.stored.scales, ScaleLayout::linear, x);
  if (f.bytes == 0 && a.layout != ScaleLayout::linear && a.swizzled.scales.size() == b.swizzled.scales.size())
    f = compared(a.tensor, b.tensor, b.swizzled.scales, a.layout, x);
  if (f.bytes == 0 && a.columns && b.columns && comparable(*a.columns, *b.columns)) {
    f = compared(*a.columns, *b.columns, {}, ScaleLayout::linear, x.data ? transpose(x).view() : x);
    if (f.bytes) f.text = "the rows are equal; of the columns:\n" + f.text;
  }
  return f;
}

Outcome run(const Options& o) {
  const QuantizeSpec spec = profile(o.profile).spec;
  const auto a_file = io::open_arrays(o.a), b_file = io::open_arrays(o.b);
  const Side a = read_side(*a_file, nullptr, spec), b = read_side(*b_file, &a.tensor, spec);
  std::optional<io::MatrixFile> x;
  if (!o.input.empty()) x = io::open_matrix(o.input, {o.array, o.tensor, dtype_named(o.input_dtype)});
  if (x && (x->view.rows != a.tensor.rows || x->view.cols != a.tensor.cols))
    throw UsageError(o.input + ": expected the shape of " + o.a + ", " + std::to_string(a.tensor.rows) +
                     " x " + std::to_string(a.tensor.cols) + ", found " + std::to_string(x->view.rows) +
                     " x " + std::to_string(x->view.cols));
  const Finding f = find(a, b, x ? x->view : MatrixView{});
  Outcome outcome;
  outcome.exit_code = f.bytes != 0;
  outcome.json = {{"equal", f.bytes == 0},
                  {"differing_bytes", f.bytes},
                  {"differing_values", f.values},
                  {"first", f.first},
                  {"diagnosis", to_json(f.causes)}};
  outcome.text = f.bytes ? f.text : "equal\n";
  return outcome;
}

}  // namespace

Run declare_diff(CLI::App& app) {
  auto o = std::make_shared<Options>();
  app.add_option("A", o->a, "the expected result: .npz or .safetensors with packed, scales, global, manifest")
      ->required();
  app.add_option("B", o->b, "the other; without a manifest it is read by A's")->required();
  app.add_option("--input", o->input, "what was quantized: proves ties, and finds other dialects and blocks");
  app.add_option("--array", o->array, "which array of an .npz input");
  app.add_option("--tensor", o->tensor, "which tensor of a .safetensors input");
  app.add_option("--input-dtype", o->input_dtype, "bf16: uint16 elements are BF16 bits");
  declare_profile(app, o->profile);
  return [o] { return run(*o); };
}

}  // namespace nvfp4::cli
