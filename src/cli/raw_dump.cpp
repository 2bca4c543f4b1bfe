#include "raw_dump.hpp"

#include "number.hpp"
#include "profile.hpp"

namespace nvfp4::cli {
namespace {

/// The expert's `size` bytes of a file that holds as many for each.
io::Bytes read_part(const std::string& path, std::int64_t size, const RawDump& dump) {
  const io::Bytes bytes = io::read_bytes(path);
  if (bytes.size() != static_cast<std::size_t>(size * dump.experts))
    throw io::FileError(path, "file size", std::to_string(size * dump.experts) + " bytes",
                        std::to_string(bytes.size()));
  return bytes.slice(static_cast<std::size_t>(size * dump.expert), static_cast<std::size_t>(size));
}

io::Array array_of(std::string name, io::Bytes bytes, std::int64_t rows, std::int64_t cols,
                   const std::string& path) {
  return {{std::move(name), io::ElementType::u8, {rows, cols}}, std::move(bytes), path};
}

/// Rows of scales as one kernel wrote them: their layout and its padding.
struct DumpedScales {
  const RawDump& dump;
  ScaleLayout layout;
  std::int64_t rows, cols;

  std::int64_t size() const {
    const ScaleExtent extent = padded(layout, rows, cols);
    return extent.rows * extent.cols;
  }

  io::Array linear(const std::string& name, const std::string& path, const io::Bytes& bytes) const {
    const std::vector<std::uint8_t> flat = from_layout(layout, bytes.u8(), rows, cols);
    const auto view = std::as_bytes(std::span(flat));
    return array_of(name, io::Bytes(std::vector<std::byte>(view.begin(), view.end())), rows, cols, path);
  }

  /// 1 where a byte of the dump is padding.
  std::vector<std::uint8_t> padding() const {
    std::vector<std::uint8_t> is_padding(static_cast<std::size_t>(size()), 1);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c)
        is_padding[static_cast<std::size_t>(offset(layout, r, c, cols))] = 0;
    return is_padding;
  }

  /// Takes from `is_padding` what the mask excuses.
  void apply_mask(std::vector<std::uint8_t>& is_padding) const {
    const io::Bytes mask = read_part(dump.mask, size(), dump);
    for (std::size_t i = 0; i < is_padding.size(); ++i) {
      if (!mask.u8()[i]) continue;
      if (!is_padding[i])
        throw io::FileError(dump.mask, "byte " + std::to_string(i), "0, because a scale lies there",
                            hex8(mask.u8()[i]));
      is_padding[i] = 0;
    }
  }

  void check_padding(const std::string& name, const io::Bytes& bytes, Verdict& verdict) const {
    if (dump.mask == "padding") return;
    std::vector<std::uint8_t> must_be_zero = padding();
    if (!dump.mask.empty()) apply_mask(must_be_zero);
    for (std::size_t i = 0; i < must_be_zero.size(); ++i) {
      if (!must_be_zero[i] || !bytes.u8()[i]) continue;
      ++verdict.differing_bytes;
      if (!verdict.text.empty()) continue;
      verdict.text = name + " padding at byte " + std::to_string(i) + " of the dump: expected 0x00, found " +
                     hex8(bytes.u8()[i]);
      verdict.first = {
          {"array", name}, {"offset", i}, {"expected", 0}, {"actual", bytes.u8()[i]}, {"text", verdict.text}};
    }
  }
};

}  // namespace

Verdict check_dump(const RawDump& dump, MatrixView input, const Producer& producer, const Kernels& kernels,
                   CompareMode mode) {
  const auto layout = find_scale_layout(dump.layout);
  if (!layout) throw UsageError("--layout " + dump.layout + ": expected linear, 128x4, 8x4 or 4-token");
  std::vector<io::Array> arrays;
  Verdict padding;
  const auto add = [&](const std::string& prefix, const std::string& codes, const std::string& scales,
                       std::int64_t rows, std::int64_t cols) {
    const std::int64_t blocks = (cols + 15) / 16;
    if (!codes.empty())
      arrays.push_back(
          array_of(prefix + "packed", read_part(codes, rows * blocks * 8, dump), rows, blocks * 8, codes));
    if (scales.empty()) return;
    const DumpedScales dumped{dump, *layout, rows, blocks};
    const io::Bytes bytes = read_part(scales, dumped.size(), dump);
    arrays.push_back(dumped.linear(prefix + "scales", scales, bytes));
    dumped.check_padding(prefix + "scales", bytes, padding);
  };
  add("", dump.codes, dump.scales, input.rows, input.cols);
  add("col_", dump.col_codes, dump.col_scales, input.cols, input.rows);
  Verdict verdict = check_case(dump.experts == 1 ? "dump" : "expert " + std::to_string(dump.expert), input,
                               arrays, producer, kernels, mode);
  verdict.differing_bytes += padding.differing_bytes;
  if (verdict.text.empty()) {
    verdict.text = padding.text;
    verdict.first = padding.first;
  }
  return verdict;
}

}  // namespace nvfp4::cli
