#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <nvfp4/boundaries.hpp>
#include <nvfp4/cases.hpp>
#include <nvfp4/diff.hpp>
#include <nvfp4/explain.hpp>
#include <nvfp4/identify.hpp>
#include <nvfp4/producers.hpp>
#include <nvfp4/testing.hpp>

#include "arguments.hpp"

namespace nvfp4::python {
namespace {

nb::object record(const std::optional<Mismatch>& first, bool with_text) {
  if (!first) return nb::none();
  nb::dict r;
  r["array"] = first->array;
  r["row"] = first->row;
  r["col"] = first->col;
  r["expected"] = first->expected;
  r["actual"] = first->actual;
  if (with_text) r["text"] = describe(*first);
  return r;
}

nb::list records(const std::vector<Diagnosis>& causes) {
  nb::list all;
  for (const Diagnosis& cause : causes) {
    nb::dict r;
    r["code"] = cause.code;
    r["text"] = cause.text;
    all.append(r);
  }
  return all;
}

std::vector<std::uint8_t> bytes_of(const std::optional<ByteInput>& input) {
  return input ? std::vector<std::uint8_t>(input->data(), input->data() + input->size())
               : std::vector<std::uint8_t>{};
}

/// A tensor with its record and, where they are not its own, its scales as they were stored.
StoredResult stored(const BlockScaledTensor& t, const std::optional<ByteInput>& scales,
                    const std::optional<ByteInput>& swizzled, std::string_view layout,
                    const BlockScaledTensor* columns) {
  StoredResult result{.tensor = t, .layout = layout_named(layout)};
  result.scales = scales ? bytes_of(scales) : t.scales;
  result.swizzled = bytes_of(swizzled);
  if (columns) result.columns = *columns;
  return result;
}

nb::dict difference(const StoredResult& a, const StoredResult& b, const std::optional<MatrixInput>& input,
                    std::string_view dtype, int threads) {
  const MatrixView x = input ? view_of(*input, dtype) : MatrixView{};
  if (input && (x.rows != a.tensor.rows || x.cols != a.tensor.cols))
    throw std::invalid_argument("input: expected the shape of a, " + std::to_string(a.tensor.rows) + " x " +
                                std::to_string(a.tensor.cols) + ", found " + std::to_string(x.rows) + " x " +
                                std::to_string(x.cols));
  const DiffReport d = released(threads, [&] { return diff(a, b, x); });
  nb::dict r;
  r["equal"] = d.equal();
  r["differing_bytes"] = d.differing_bytes;
  r["differing_values"] = d.differing_values;
  r["first"] = record(d.first, true);
  r["diagnosis"] = records(d.diagnosis);
  r["text"] = d.equal() ? "equal\n" : d.text;
  return r;
}

nb::dict record(const testing::Report& report) {
  nb::dict r;
  r["equal"] = report.equal();
  r["differing_bytes"] = report.differing_bytes;
  r["differing_values"] = report.differing_values;
  r["diagnosis"] = records(report.diagnosis);
  r["message"] = report.message;
  return r;
}

/// Arrays as a kernel left them; one that is not given is not compared.
nb::dict compare_arrays(const BlockScaledTensor& expected, const std::optional<ByteInput>& packed,
                        const std::optional<ByteInput>& scales, const std::optional<FloatInput>& global,
                        std::string_view layout, bool any_padding, const std::optional<MatrixInput>& input,
                        std::string_view dtype, int threads) {
  testing::Result actual{.layout = layout_named(layout),
                         .padding = any_padding ? testing::Padding::anything : testing::Padding::zero};
  if (packed) actual.codes = span_of<std::uint8_t>(*packed);
  if (scales) actual.scales = span_of<std::uint8_t>(*scales);
  if (global) actual.global = span_of<float>(*global);
  const MatrixView x = input ? view_of(*input, dtype) : MatrixView{};
  return record(released(threads, [&] { return testing::compare(actual, expected, x); }));
}

nb::dict options_of(const Origin& o) {
  nb::dict r;
  r["block"] = block_name(o.spec.block);
  r["tensor_scale"] = name(o.spec.tensor_scale);
  if (o.spec.dialect->four_over_six) {
    r["e4m3_max"] = o.spec.four_over_six.e4m3_max;
    r["select"] = name(o.spec.four_over_six.select);
    r["error_fast"] = o.spec.four_over_six.error_fast;
  }
  if (o.rht) r["rht"] = 16, r["rht_signs"] = name(*o.rht);
  if (o.transposed) r["transpose"] = true;
  return r;
}

/// `effort`: how far the bytes are from being laid down as the library does, plainest first.
nb::dict record(const Origin& o) {
  nb::dict r;
  nb::dict options = options_of(o);
  nb::list makers;
  for (const Producer* p : producers_of(o)) makers.append(p->name);
  r["dialect"] = o.spec.dialect->name;
  r["arithmetic"] = options_of(o);
  if (o.packing != Packing::low_first)
    options["packing"] = o.packing == Packing::high_first ? "high_first" : "ggml";
  if (o.layout != ScaleLayout::linear) options["layout"] = name(o.layout);
  if (o.global != GlobalAs::own) options["global"] = name(o.global);
  r["options"] = options;
  r["producers"] = makers;
  r["effort"] =
      nb::make_tuple(static_cast<int>(o.global), static_cast<int>(o.layout), static_cast<int>(o.packing));
  return r;
}

UnknownOutput output_of(std::int64_t rows, const ByteInput& packed, const ByteInput& scales,
                        const std::optional<FloatInput>& global) {
  UnknownOutput output{rows, span_of<std::uint8_t>(packed), span_of<std::uint8_t>(scales), {}};
  if (global) output.global = span_of<float>(*global);
  return output;
}

nb::dict identification(const MatrixInput& x, std::string_view dtype, std::int64_t rows,
                        const ByteInput& packed, const ByteInput& scales,
                        const std::optional<FloatInput>& global, int threads) {
  const MatrixView view = view_of(x, dtype);
  const UnknownOutput output = output_of(rows, packed, scales, global);
  const Identification found = released(threads, [&] { return identify(view, output); });
  nb::dict r;
  nb::list matches;
  for (const Origin& o : found.matches) matches.append(record(o));
  r["matches"] = matches;
  r["nearest"] = found.nearest ? nb::object(record(*found.nearest)) : nb::none();
  r["differing_bytes"] = found.differing_bytes;
  r["first"] = record(found.first, false);
  return r;
}

nb::list excluded(std::int64_t rows, const ByteInput& packed, const ByteInput& scales,
                  const std::optional<FloatInput>& global) {
  nb::list all;
  for (const Exclusion& e : exclusions(output_of(rows, packed, scales, global))) {
    nb::dict r;
    r["dialect"] = e.dialect->name;
    r["why"] = e.why;
    all.append(r);
  }
  return all;
}

nb::dict record(const ExplainedStep& step) {
  nb::dict r;
  r["step"] = step.text;
  r["value"] = step.value;
  if (step.is_rounding) r["code"] = step.code, r["fields"] = step.fields;
  if (!step.story) return r;
  r["neighbours"] = nb::make_tuple(step.story->low, step.story->high);
  r["tie"] = step.story->tie;
  r["why"] = step.story->why;
  return r;
}

nb::list records(const std::vector<ExplainedStep>& steps) {
  nb::list all;
  for (const ExplainedStep& step : steps) all.append(record(step));
  return all;
}

nb::dict record(const Explanation& e) {
  nb::dict r;
  r["value"] = e.value;
  r["amax"] = e.amax;
  r["tensor_amax"] = e.tensor_amax;
  r["dialect"] = e.spec.dialect->name;
  r["tensor_scale"] = records(e.tensor_scale);
  r["block_scale"] = records(e.block_scale);
  r["element"] = records(e.element);
  r["dequantize"] = records(e.dequantize);
  r["scale_code"] = e.scale_code;
  r["code"] = e.code;
  r["result"] = e.result;
  r["error"] = static_cast<double>(e.result) - e.value;
  return r;
}

nb::tuple explanation(const QuantizeSpec& spec, std::vector<float> values, std::optional<float> amax,
                      std::optional<float> tensor_amax, std::string_view dtype, int random) {
  if (random < 0 || random > 255)
    throw std::invalid_argument("random: expected a byte, 0 to 255, found " + std::to_string(random));
  const ExplainQuestion q{.spec = spec,
                          .dtype = dtype_named(dtype),
                          .values = std::move(values),
                          .amax = amax,
                          .tensor_amax = tensor_amax,
                          .random = static_cast<std::uint8_t>(random)};
  const std::vector<Explanation> all = released(0, [&] { return explain(q); });
  std::string text;
  nb::list walks;
  for (const Explanation& e : all) {
    text += (text.empty() ? "" : "\n") + describe(e);
    walks.append(record(e));
  }
  return nb::make_tuple(text, explain_command(q), walks);
}

std::string command_for(const MatrixInput& x, std::string_view dtype, const QuantizeSpec& spec,
                        std::int64_t row, std::int64_t col) {
  const MatrixView view = view_of(x, dtype);
  if (row < 0 || row >= view.rows || col < 0)
    throw std::invalid_argument("row, col: expected an element of the matrix, found (" + std::to_string(row) +
                                ", " + std::to_string(col) + ")");
  return testing::explain_command(view, spec, row, col);
}

nb::object boundaries(const QuantizeSpec& spec, std::string_view dtype, float tensor_amax, std::int64_t rows,
                      std::uint64_t seed, int threads) {
  if (rows < 1) throw std::invalid_argument("rows: expected 1 or more, found " + std::to_string(rows));
  const Dtype type = dtype_named(dtype);
  return array_of(released(threads, [&] { return boundary_rows(spec, type, tensor_amax, rows, seed); }));
}

nb::list cases(std::string_view pack, std::string_view dtype, std::uint64_t seed) {
  nb::list all;
  for (Case& c : make_cases(pack, dtype_named(dtype), seed))
    all.append(nb::make_tuple(c.name, array_of(std::move(c.input))));
  return all;
}

nb::list packs() {
  nb::list all;
  for (const std::string_view pack : case_packs()) all.append(pack);
  return all;
}

ByteArray ggml_blocks(const BlockScaledTensor& t) {
  std::vector<std::uint8_t> blocks = to_ggml_blocks(t.codes, t.scales);
  const auto rows = static_cast<std::size_t>(t.rows), cols = blocks.size() / rows;
  return array_of<std::uint8_t>(std::move(blocks), {rows, cols});
}

Packing packing_named(std::string_view text) {
  if (text == "low_first") return Packing::low_first;
  if (text == "high_first") return Packing::high_first;
  if (text == "ggml") return Packing::ggml;
  throw std::invalid_argument("packing '" + std::string(text) +
                              "': expected one of low_first, high_first, ggml");
}

ByteArray repacked(const ByteInput& packed, std::string_view from, std::string_view to) {
  std::vector<std::uint8_t> codes(packed.data(), packed.data() + packed.size());
  repack(codes, packing_named(from), packing_named(to));
  return array_of<std::uint8_t>(std::move(codes), {packed.size()});
}

}  // namespace

void bind_checks(nb::module_& m) {
  nb::class_<StoredResult>(m, "StoredResult")
      .def(
          "__init__",
          [](StoredResult* self, const BlockScaledTensor& tensor, const std::optional<ByteInput>& scales,
             const std::optional<ByteInput>& swizzled, std::string_view layout,
             const BlockScaledTensor* columns) {
            new (self) StoredResult(stored(tensor, scales, swizzled, layout, columns));
          },
          nb::arg("tensor"), nb::kw_only(), nb::arg("scales") = nb::none(), nb::arg("swizzled") = nb::none(),
          nb::arg("layout") = "linear", nb::arg("columns") = nb::none());
  m.def("diff", &difference, nb::arg("a"), nb::arg("b"), nb::arg("input").none(), nb::arg("dtype"),
        nb::arg("num_threads"));
  m.def("compare", &compare_arrays, nb::arg("expected"), nb::kw_only(), nb::arg("packed").none(),
        nb::arg("scales").none(), nb::arg("global_scale").none(), nb::arg("layout"), nb::arg("any_padding"),
        nb::arg("input").none(), nb::arg("dtype"), nb::arg("num_threads"));
  m.def("identify", &identification, nb::arg("x"), nb::arg("dtype"), nb::arg("rows"), nb::arg("packed"),
        nb::arg("scales"), nb::arg("global_scale").none(), nb::arg("num_threads"));
  m.def("exclusions", &excluded, nb::arg("rows"), nb::arg("packed"), nb::arg("scales"),
        nb::arg("global_scale").none());
  m.def("explain", &explanation, nb::arg("spec"), nb::arg("values"), nb::arg("amax").none(),
        nb::arg("tensor_amax").none(), nb::arg("dtype"), nb::arg("random"));
  m.def("explain_command", &command_for, nb::arg("x"), nb::arg("dtype"), nb::arg("spec"), nb::arg("row"),
        nb::arg("col"));
  m.def("boundary_rows", &boundaries, nb::arg("spec"), nb::arg("dtype"), nb::arg("tensor_amax"),
        nb::arg("rows"), nb::arg("seed"), nb::arg("num_threads"));
  m.def("make_cases", &cases, nb::arg("pack"), nb::arg("dtype"), nb::arg("seed"));
  m.def("case_packs", &packs);
  m.def("ggml_blocks", &ggml_blocks, nb::arg("tensor"));
  m.def("repack", &repacked, nb::arg("packed"), nb::arg("packing_from"), nb::arg("packing_to"));
}

}  // namespace nvfp4::python
