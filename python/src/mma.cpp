#include <nvfp4/mma.hpp>

#include <algorithm>
#include <vector>

#include "arguments.hpp"

namespace nvfp4::python {
namespace {

using CodeInput = nb::ndarray<const std::uint64_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using ScaleInput = nb::ndarray<const std::uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

bool is_fp64(const Accumulation& acc) { return acc.sum == Summation::fp64_fma; }

int accumulator_bits(const Accumulation& acc) {
  return is_fp64(acc) ? 64 : acc.out == Conversion::rne_fp16 ? 16 : 32;
}

Accumulation model_of(std::string_view name, std::string_view out_dtype) {
  const Accumulation& model = accumulation_named(name);
  return named(out_dtype, "out_dtype", {Dtype::fp32, Dtype::fp16}) == Dtype::fp16 ? fp16_accumulator(model)
                                                                                  : model;
}

/// The model's only element format, or the one that is named.
Format element_format(const Accumulation& acc, const std::optional<std::string>& text,
                      std::string_view what) {
  if (is_fp64(acc)) return Format::e2m1;  // which is not looked at
  if (!text && acc.elements.size() == 1) return acc.elements[0];
  std::string choice;
  for (const FormatInfo& f : formats()) {
    const bool is_element = f.format != Format::ue4m3 && f.format != Format::e8m0;
    const bool is_taken =
        acc.elements.empty() || std::ranges::find(acc.elements, f.format) != acc.elements.end();
    if (!is_element || !is_taken) continue;
    if (f.name == text) return f.format;
    choice += (choice.empty() ? "" : ", ") + std::string(f.name);
  }
  throw std::invalid_argument(std::string(what) + (text ? " '" + *text + "'" : "") + ": expected one of " +
                              choice);
}

std::span<const std::uint64_t> codes_of(const CodeInput& input, int bits, std::string_view what) {
  const auto codes = span_of<std::uint64_t>(input);
  if (bits < 64 && std::ranges::any_of(codes, [bits](std::uint64_t c) { return c >> bits; }))
    throw std::invalid_argument(std::string(what) + ": expected codes of " + std::to_string(bits) +
                                " bits, one an element, found a larger one");
  return codes;
}

/// The width of a block and the format of its scale, by how many scales a row has.
void set_scales(MmaOperands& x, const Accumulation& acc, const ScaleInput& a, const ScaleInput& b) {
  for (const int width : {acc.scale ? acc.block : 16, acc.scale ? acc.other_block : 32})
    if (width && !x.block && (x.k + width - 1) / width == static_cast<std::int64_t>(a.shape(2)))
      x.block = width;
  if (!x.block)
    throw std::invalid_argument("a_scales: expected one for each block of a row, found " +
                                std::to_string(a.shape(2)) + " for " + std::to_string(x.k) + " elements");
  x.scale = acc.scale ? acc.scale : x.block == 16 ? Format::ue4m3 : Format::e8m0;
  x.a_scales = span_of<std::uint8_t>(a);
  x.b_scales = span_of<std::uint8_t>(b);
}

nb::tuple mma(const CodeInput& a, const CodeInput& b, const CodeInput& c, std::string_view model,
              const std::optional<ScaleInput>& a_scales, const std::optional<ScaleInput>& b_scales,
              const std::optional<std::string>& a_format, const std::optional<std::string>& b_format,
              std::string_view out_dtype, bool every_step, std::string_view device, int threads) {
  const Accumulation acc = model_of(model, out_dtype);
  if (every_step && takes_all(acc))
    throw std::invalid_argument("every_step: expected a model of an instruction, found " +
                                std::string(acc.name));
  const auto size = [](const auto& array, int i) { return static_cast<std::int64_t>(array.shape(i)); };
  MmaOperands x{.tiles = size(a, 0), .rows = size(a, 1), .cols = size(b, 1), .k = size(a, 2)};
  x.a_format = element_format(acc, a_format, "a_format");
  x.b_format = element_format(acc, b_format, "b_format");
  x.a = codes_of(a, is_fp64(acc) ? 64 : info(x.a_format).bits, "a");
  x.b = codes_of(b, is_fp64(acc) ? 64 : info(x.b_format).bits, "b");
  x.c = codes_of(c, accumulator_bits(acc), "c");
  if (a_scales.has_value() != b_scales.has_value())
    throw std::invalid_argument("a_scales, b_scales: expected both or neither");
  if (a_scales) set_scales(x, acc, *a_scales, *b_scales);
  validate(acc, x);
  const Kernels& kernels = kernels_of(device);
  std::vector<std::uint64_t> d = released(threads, [&] { return kernels.mma(x, acc, every_step); });
  const std::size_t steps = every_step ? static_cast<std::size_t>(instructions(acc, x.k)) : 1;
  return nb::make_tuple(array_of<std::uint64_t>(std::move(d), {a.shape(0), steps, a.shape(1), b.shape(1)}),
                        accumulator_bits(acc));
}

}  // namespace

void bind_mma(nb::module_& m) {
  m.def("mma", &mma, nb::arg("a"), nb::arg("b"), nb::arg("c"), nb::arg("model"), nb::kw_only(),
        nb::arg("a_scales").none(), nb::arg("b_scales").none(), nb::arg("a_format").none(),
        nb::arg("b_format").none(), nb::arg("out_dtype"), nb::arg("every_step"), nb::arg("device"),
        nb::arg("num_threads"));
}

}  // namespace nvfp4::python
