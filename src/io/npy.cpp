#include "npy.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <optional>

#include <nvfp4/io/error.hpp>

#include "text.hpp"

/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
namespace nvfp4::io {
namespace {

constexpr std::string_view magic = "\x93NUMPY";
constexpr std::size_t max_rank = 64;  ///< NumPy's own

/// The header is a Python dict literal of three entries. Each member consumes what it names.
class HeaderDict {
 public:
  HeaderDict(std::string_view text, std::size_t offset, const NpySource& source)
      : text_(text), offset_(offset), source_(source) {}

  void parse() {
    expect('{');
    while (!accept('}')) {
      entry();
      if (accept('}')) break;
      expect(',');
    }
    skip_space();
    if (at_ < text_.size()) refuse("the end of the header");
    require(type, "descr");
    require(fortran_order, "fortran_order");
    require(shape, "shape");
  }

  std::optional<ElementType> type;
  std::optional<bool> fortran_order;
  std::optional<std::vector<std::int64_t>> shape;

 private:
  void entry() {
    const std::string key(string());
    expect(':');
    if (key == "descr")
      once(key, type, descr());
    else if (key == "fortran_order")
      once(key, fortran_order, boolean());
    else if (key == "shape")
      once(key, shape, tuple());
    else
      refuse_field(key, "only 'descr', 'fortran_order' and 'shape'", "this");
  }

  template <class T>
  void once(const std::string& key, std::optional<T>& field, T value) {
    if (field) refuse_field(key, "one of it", "two");
    field = std::move(value);
  }

  ElementType descr() {
    skip_space();
    if (peek() == '[') refuse_field("descr", "one simple element type", "a structured one");
    const std::string_view text = string();
    if (const ElementInfo* found = find_npy(text)) return found->type;
    if (text.starts_with('>'))
      refuse_field("descr", "little-endian elements", in_quotes(text) + ", which is big-endian");
    if (text.starts_with("|V") || text.starts_with("<V"))
      refuse_field("descr", "integers or floats (save .view(uint8) of an ml_dtypes array)", in_quotes(text));
    refuse_field("descr", "a little-endian integer or float such as '<f4'", in_quotes(text));
  }

  bool boolean() {
    skip_space();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (!text_.substr(at_).starts_with(word)) continue;
      at_ += word.size();
      return value;
    }
    refuse_field("fortran_order", "True or False", in_quotes(text_.substr(at_, 10)));
  }

  std::vector<std::int64_t> tuple() {
    std::vector<std::int64_t> values;
    expect('(');
    while (!accept(')')) {
      if (values.size() == max_rank) refuse_field("shape", "at most 64 dimensions", "more");
      values.push_back(integer());
      if (accept(')')) break;
      expect(',');
    }
    return values;
  }

  std::int64_t integer() {
    skip_space();
    std::int64_t value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc{} || value < 0)
      refuse_field("shape", "dimensions from 0 to 2^63 - 1", in_quotes(text_.substr(at_, 24)));
    at_ += static_cast<std::size_t>(end - begin);
    if (peek() == 'L') ++at_;  // Python 2 wrote its long integers so
    return value;
  }

  std::string_view string() {
    skip_space();
    const char quote = peek();
    if (quote != '\'' && quote != '"') refuse("a quoted string");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) refuse("a string with its closing quote");
    const std::string_view value = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return value;
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\n\r", at_), text_.size()); }
  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) refuse(std::string("'") + c + "'");
  }

  [[noreturn]] void refuse(std::string_view expected) const {
    throw FileError(source_.file, source_.place + "byte " + std::to_string(offset_ + at_), expected,
                    at_ < text_.size() ? in_quotes(text_.substr(at_, 16)) : "the end of the header");
  }
  [[noreturn]] void refuse_field(std::string_view field, std::string_view expected,
                                 std::string_view found) const {
    throw FileError(source_.file, source_.place + "header field " + in_quotes(field), expected, found);
  }
  template <class T>
  void require(const std::optional<T>& field, std::string_view name) const {
    if (!field) refuse_field(name, "it in the header", "none");
  }

  std::string_view text_;
  std::size_t offset_, at_ = 0;
  const NpySource& source_;
};

struct Extent {
  std::size_t offset, size;
};

/// Where the dict lies. Versions 2.0 and 3.0 count it in four bytes, 1.0 in two.
Extent header_extent(std::span<const std::byte> bytes, std::uint64_t file_size, const NpySource& source) {
  const auto refuse = [&](std::string_view place, std::string_view expected, const std::string& found) {
    throw FileError(source.file, source.place + std::string(place), expected, found);
  };
  const auto byte = [&](std::size_t i) { return std::to_integer<std::size_t>(bytes[i]); };
  if (!is_npy(bytes)) refuse("byte 0", "the magic \\x93NUMPY", file_size ? "other bytes" : "an empty file");
  if (bytes.size() < 12) refuse("byte 6", "a version and a header length", "the end of the file");
  const std::size_t major = byte(6), minor = byte(7);
  if (major < 1 || major > 3 || minor)
    refuse("byte 6", "version 1.0, 2.0 or 3.0", std::to_string(major) + "." + std::to_string(minor));
  const std::size_t low = byte(8) | byte(9) << 8;
  const Extent header = major == 1 ? Extent{10, low} : Extent{12, low | byte(10) << 16 | byte(11) << 24};
  if (header.offset + header.size > npy_header_limit)
    refuse("byte 8", "a header of at most 65535 bytes", std::to_string(header.size));
  if (header.offset + header.size > bytes.size())
    refuse("byte 8", "a header of " + std::to_string(header.size) + " bytes",
           "a file of " + std::to_string(file_size));
  return header;
}

/// Row-major order of what lies column-major. The file's first index runs fastest.
Bytes transpose(const Bytes& from, const ArrayInfo& array) {
  const std::size_t width = static_cast<std::size_t>(info(array.type).bits) / 8;
  const std::size_t rank = array.shape.size();
  std::vector<std::size_t> stride(rank, width), index(rank, 0);
  for (std::size_t d = 1; d < rank; ++d)
    stride[d] = stride[d - 1] * static_cast<std::size_t>(array.shape[d - 1]);
  std::vector<std::byte> to(from.size());
  std::size_t source = 0;
  for (std::size_t at = 0; at < to.size(); at += width) {
    std::memcpy(&to[at], from.data() + source, width);
    for (std::size_t d = rank; d-- > 0;) {
      source += stride[d];
      if (++index[d] < static_cast<std::size_t>(array.shape[d])) break;
      source -= stride[d] * index[d];
      index[d] = 0;
    }
  }
  return Bytes(std::move(to));
}

std::uint64_t size_or_refuse(const ArrayInfo& array, const NpySource& source) {
  try {
    return byte_size(array);
  } catch (const std::exception& e) {
    throw FileError(source.file, source.place + "header field 'shape'", "a size that fits",
                    tuple_text(array.shape));
  }
}

}  // namespace

bool is_npy(std::span<const std::byte> bytes) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

NpyHeader parse_npy_header(std::span<const std::byte> beginning, std::uint64_t file_size,
                           const NpySource& source) {
  const Extent header = header_extent(beginning, file_size, source);
  const auto* text = reinterpret_cast<const char*>(beginning.data()) + header.offset;
  HeaderDict dict({text, header.size}, header.offset, source);
  dict.parse();
  const ArrayInfo array{"", *dict.type, *dict.shape};
  const std::uint64_t expected = size_or_refuse(array, source);
  const std::size_t offset = header.offset + header.size;
  if (file_size - offset != expected)
    throw FileError(source.file, source.place + "byte " + std::to_string(offset),
                    std::to_string(expected) + " bytes for shape " + tuple_text(array.shape),
                    std::to_string(file_size - offset));
  return {array.type, array.shape, *dict.fortran_order, offset};
}

Array parse_npy(const Bytes& file, const NpySource& source, std::string name) {
  const std::span beginning = file.view().first(std::min(file.size(), npy_header_limit));
  const NpyHeader header = parse_npy_header(beginning, file.size(), source);
  ArrayInfo array{std::move(name), header.type, header.shape};
  const Bytes elements = file.slice(header.data_offset, file.size() - header.data_offset);
  const bool column_major = header.fortran_order && array.shape.size() > 1 && elements.size() > 0;
  Bytes bytes = column_major ? transpose(elements, array) : aligned(elements, array.type);
  return {std::move(array), std::move(bytes), source.file};
}

std::string npy_preamble(const ArrayView& view, const std::string& file) {
  const ArrayInfo& array = view.info;
  const std::string_view descr = info(array.type).npy;
  if (descr.empty())
    throw FileError(file, "array " + in_quotes(array.name), "an element type that NumPy has",
                    info(array.type).numpy);
  if (view.bytes.size() != byte_size(array))
    throw std::invalid_argument("array " + in_quotes(array.name) + " has other bytes than its shape");
  std::string dict = "{'descr': '" + std::string(descr) +
                     "', 'fortran_order': False, 'shape': " + tuple_text(array.shape) + ", }";
  // NumPy leaves room for the first dimension to grow to 21 digits, then adds 1 to 64 blanks.
  if (!array.shape.empty()) dict.append(21 - std::to_string(array.shape[0]).size(), ' ');
  constexpr std::size_t before = 10, newline = 1;
  dict.append(64 - (before + dict.size() + newline) % 64, ' ');
  dict += '\n';
  std::string preamble(magic);
  preamble += {'\1', '\0', static_cast<char>(dict.size() & 0xFF), static_cast<char>(dict.size() >> 8)};
  return preamble + dict;
}

Bytes aligned(const Bytes& bytes, ElementType type) {
  const std::size_t width = std::max<std::size_t>(1, static_cast<std::size_t>(info(type).bits) / 8);
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % width == 0) return bytes;
  return Bytes(std::vector<std::byte>(bytes.view().begin(), bytes.view().end()));
}

}  // namespace nvfp4::io
