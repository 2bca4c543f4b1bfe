#include "mma_file.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "command.hpp"
#include "golden_file.hpp"

namespace nvfp4::cli {
namespace {

/// The arrays of a file by their names in the contract, upper case without a prefix, else lower case.
class Arrays {
 public:
  Arrays(const io::ArrayFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  std::string name(std::string text) const {
    if (prefix_.empty()) return text;
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return prefix_ + "." + text;
  }
  bool contains(const std::string& text) const { return file_.contains(name(text)); }
  io::Array read(const std::string& text) const { return file_.read(name(text)); }
  /// The first of these that the file has, else the last.
  io::Array read_first(std::initializer_list<const char*> names) const {
    for (const char* text : names)
      if (contains(text)) return read(text);
    return read(*(names.end() - 1));
  }

 private:
  const io::ArrayFile& file_;
  std::string prefix_;
};

std::vector<std::uint64_t> codes_of(const io::Array& array, int bits) {
  if (io::info(array.info.type).bits != bits)
    array.refuse("codes of " + std::to_string(bits) + " bits", io::info(array.info.type).numpy);
  const auto size = static_cast<std::size_t>(bits / 8);
  std::vector<std::uint64_t> codes(array.bytes.size() / size);
  for (std::size_t i = 0; i < codes.size(); ++i) std::memcpy(&codes[i], array.bytes.data() + i * size, size);
  return codes;
}

std::vector<std::uint64_t> elements_of(const io::Array& array, Format format, const Accumulation& acc) {
  auto codes = codes_of(array, element_bits(format, acc));
  if (acc.sum == Summation::fp64_fma) return codes;
  const std::uint64_t last = (std::uint64_t{1} << info(format).bits) - 1;
  if (std::ranges::any_of(codes, [last](std::uint64_t c) { return c > last; }))
    array.refuse(std::string(info(format).name) + " codes 0 to " + std::to_string(last) +
                     ", one an element, not packed",
                 "a larger one");
  return codes;
}

void expect_shape(const io::Array& array, const std::vector<std::int64_t>& shape) {
  if (array.info.shape != shape) array.refuse("shape " + shape_text(shape), shape_text(array.info.shape));
}

/// Tiles, rows, columns and K from the shapes of A, B and C.
void set_shape(MmaFile& x, const io::Array& a, const io::Array& b, const io::Array& c) {
  const auto &sa = a.info.shape, &sb = b.info.shape;
  x.shape = c.info.shape;
  if (sa.size() < 2 || sa.size() > 3) a.refuse("2 or 3 dimensions", shape_text(sa));
  if (sb.size() != sa.size()) b.refuse("as many dimensions as A has", shape_text(sb));
  x.k = sa.back();
  const bool one_a_row = sa.size() == 2 && x.shape.size() == 1;
  if (one_a_row || sa.size() == 3) x.tiles = sa[0];
  if (!one_a_row) x.rows = sa[sa.size() - 2], x.cols = sb[sb.size() - 2];
  std::vector<std::int64_t> expected{x.cols, x.k};
  if (one_a_row) expected = sa;
  if (sa.size() == 3) expected.insert(expected.begin(), x.tiles);
  expect_shape(b, expected);
  if (!one_a_row) {
    expected = {x.rows, x.cols};
    if (sa.size() == 3) expected.insert(expected.begin(), x.tiles);
  }
  expect_shape(c, one_a_row ? std::vector{x.tiles} : expected);
}

/// The width of a block and the format of its scale, by how many scales a row has.
void set_scale(MmaFile& x, const io::Array& scales, const Accumulation& acc) {
  const std::int64_t blocks = scales.info.shape.empty() ? 0 : scales.info.shape.back();
  const int widths[] = {acc.scale ? acc.block : 16, acc.scale ? acc.other_block : 32};
  for (const int width : widths)
    if (width && !x.block && (x.k + width - 1) / width == blocks) x.block = width;
  if (!x.block)
    scales.refuse("a scale for each " + std::to_string(widths[0]) +
                      (widths[1] ? " or " + std::to_string(widths[1]) : "") + " elements",
                  shape_text(scales.info.shape));
  x.scale = acc.scale ? acc.scale : x.block == 16 ? Format::ue4m3 : Format::e8m0;
}

std::vector<std::uint8_t> scales_of(const io::Array& scales, const io::Array& elements, const MmaFile& x) {
  std::vector<std::int64_t> shape = elements.info.shape;
  shape.back() = (x.k + x.block - 1) / x.block;
  expect_shape(scales, shape);
  const auto codes = codes_of(scales, 8);
  return {codes.begin(), codes.end()};
}

void read_results(MmaFile& x, const Arrays& arrays, const Accumulation& acc) {
  const bool fp16 = acc.out == Conversion::rne_fp16;
  for (const char* name : {fp16 ? "D_f16" : "D_f32", "D"}) {
    if (x.d || !arrays.contains(name)) continue;
    const io::Array d = arrays.read(name);
    expect_shape(d, x.shape);
    x.d = codes_of(d, code_bits(acc));
  }
  if (!arrays.contains("D_steps")) return;
  const io::Array steps = arrays.read("D_steps");
  expect_shape(steps, {x.tiles, instructions(acc, x.k), x.rows, x.cols});
  x.d_steps = codes_of(steps, code_bits(acc));
}

}  // namespace

GoldenArray code_array(std::string name, std::span<const std::uint64_t> codes, int bits,
                       std::vector<std::int64_t> shape) {
  const auto type = bits == 64   ? io::ElementType::u64
                    : bits == 32 ? io::ElementType::u32
                    : bits == 16 ? io::ElementType::u16
                                 : io::ElementType::u8;
  GoldenArray array{{std::move(name), type, std::move(shape)}, {}};
  for (const std::uint64_t code : codes) {
    const auto bytes = std::as_bytes(std::span(&code, 1));  // little-endian, as the files are
    array.bytes.insert(array.bytes.end(), bytes.begin(), bytes.begin() + bits / 8);
  }
  return array;
}

int element_bits(Format format, const Accumulation& acc) {
  return acc.sum == Summation::fp64_fma ? 64 : std::max(info(format).bits, 8);
}

int code_bits(const Accumulation& acc) {
  return acc.sum == Summation::fp64_fma ? 64 : acc.out == Conversion::rne_fp16 ? 16 : 32;
}

MmaFile read_mma(const io::ArrayFile& file, const std::string& prefix, const Accumulation& acc,
                 Format a_format, Format b_format) {
  const Arrays arrays(file, prefix);
  const io::Array a = arrays.read("A"), b = arrays.read("B");
  const io::Array c = acc.out == Conversion::rne_fp16 ? arrays.read_first({"C_f16", "C"}) : arrays.read("C");
  MmaFile x;
  x.a_format = a_format, x.b_format = b_format;
  set_shape(x, a, b, c);
  x.a = elements_of(a, a_format, acc);
  x.b = elements_of(b, b_format, acc);
  x.c = codes_of(c, code_bits(acc));
  if (acc.scale || arrays.contains("SFA")) {
    const io::Array sfa = arrays.read("SFA"), sfb = arrays.read("SFB");
    set_scale(x, sfa, acc);
    x.a_scales = scales_of(sfa, a, x);
    x.b_scales = scales_of(sfb, b, x);
  }
  read_results(x, arrays, acc);
  return x;
}

}  // namespace nvfp4::cli
