#include <memory>

#include <CLI/App.hpp>
#include <nvfp4/diff.hpp>

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

/// The arrays of one of the two files as they are, and the record that its manifest gives or the caller: `record` stands
/// in for a manifest that is missing, or that the arrays do not fit.
StoredResult read_result(const io::ArrayFile& file, const BlockScaledTensor* record,
                         const QuantizeSpec& spec) {
  const StoredOutput stored = stored_output(file, "");
  StoredResult result{.scales = stored.scales};
  if (file.contains("scales_swizzled")) {
    const io::Array array = file.read("scales_swizzled");
    const auto bytes = array.bytes.u8();
    result.swizzled.assign(bytes.begin(), bytes.end());
  }
  const bool fits = record && stored.codes.size() == record->codes.size();
  if (file.contains("manifest")) try {
      io::QuantizedFile q = io::read_quantized(file);
      result.tensor = std::move(q.rows);
      result.layout = q.layout;
      result.columns = std::move(q.columns);
      return result;
    } catch (const io::FileError&) {
      if (!fits) throw;
    }
  result.tensor = as_tensor(stored, fits ? *record : record_of(stored, record ? record->spec : spec));
  return result;
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

Outcome run(const Options& o) {
  const QuantizeSpec spec = profile(o.profile).spec;
  const auto a_file = io::open_arrays(o.a), b_file = io::open_arrays(o.b);
  const StoredResult a = read_result(*a_file, nullptr, spec), b = read_result(*b_file, &a.tensor, spec);
  std::optional<io::MatrixFile> x;
  if (!o.input.empty()) x = io::open_matrix(o.input, {o.array, o.tensor, dtype_named(o.input_dtype)});
  if (x && (x->view.rows != a.tensor.rows || x->view.cols != a.tensor.cols))
    throw UsageError(o.input + ": expected the shape of " + o.a + ", " + std::to_string(a.tensor.rows) +
                     " x " + std::to_string(a.tensor.cols) + ", found " + std::to_string(x->view.rows) +
                     " x " + std::to_string(x->view.cols));
  const DiffReport d = nvfp4::diff(a, b, x ? x->view : MatrixView{});
  Outcome outcome;
  outcome.exit_code = !d.equal();
  outcome.json = {{"equal", d.equal()},
                  {"differing_bytes", d.differing_bytes},
                  {"differing_values", d.differing_values},
                  {"first", to_json(d.first)},
                  {"diagnosis", to_json(d.diagnosis)}};
  outcome.text = d.equal() ? "equal\n" : d.text;
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
