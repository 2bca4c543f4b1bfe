#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/io/array.hpp>
#include <nvfp4/io/gguf_metadata.hpp>
#include <nvfp4/tensor.hpp>

namespace nvfp4::io {

/// A type of ggml's that files may have. Elements lie in blocks along a row.
struct GgufType {
  std::uint32_t id;
  std::string_view name;                  ///< "F32", "Q4_1", "NVFP4"
  std::int64_t elements;                  ///< of a block
  std::int64_t bytes;                     ///< of a block
  std::optional<ElementType> plain = {};  ///< where a block is one element
};
std::span<const GgufType> gguf_types();
/// Throws std::invalid_argument for a name that is none of theirs.
const GgufType& gguf_type(std::string_view name);

struct GgufTensor {
  std::string name;
  std::string type;                 ///< GgufType::name
  std::vector<std::int64_t> shape;  ///< of the elements, row-major: GGUF's `ne` reversed
  friend bool operator==(const GgufTensor&, const GgufTensor&) = default;
};

/// The array that a tensor is as bytes: its elements where they are plain, else u8 (..., bytes of a row). Throws
/// std::invalid_argument for an unknown type, a negative dimension, a row that is no whole number of blocks, more
/// than four dimensions; std::overflow_error beyond 2^60 elements.
ArrayInfo array_info(const GgufTensor&);

/// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. Tensors are views
/// of the mapped file where it aligns them.
class Gguf final : public ArrayFile {
 public:
  Gguf(Bytes, std::string file);
  explicit Gguf(const std::string& path) : Gguf(read_bytes(path), path) {}

  const GgufMetadata& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }  ///< in the order of the file's list
  const GgufTensor& tensor(std::string_view name) const { return tensors_[place(name).index]; }

  std::vector<std::string> names() const override;
  bool contains(std::string_view name) const override { return places_.contains(name); }
  ArrayInfo info(std::string_view name) const override { return array_info(tensor(name)); }
  Array read(std::string_view name) const override;
  std::string_view container() const override { return "gguf"; }
  std::string_view block_type(std::string_view name) const override;

 private:
  struct Place {
    std::size_t index, offset, size;
  };
  const Place& place(std::string_view name) const;

  Bytes bytes_;
  GgufMetadata metadata_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string, Place, std::less<>> places_;
};

/// Rows first, first + 1, ... of a tensor (leading dimensions flattened; rank below 2 is one row) as FP32, as ggml
/// and gguf-py decode them: F32, F16, BF16, Q8_0 (d * q), Q4_0 (d * (q - 8)), Q4_1 (d * q + m); the products are
/// exact. Bit for bit, but for NaN's payload. Throws FileError for another type, std::invalid_argument where `out`
/// is no whole number of the tensor's rows.
void gguf_rows(const Gguf&, std::string_view name, std::int64_t first, std::span<float> out);
Matrix gguf_values(const Gguf&, std::string_view name);
/// Whether gguf_rows() decodes this type.
bool has_gguf_values(std::string_view type);

/// Where everything lies in a file that has these tensors in this order, each as soon as the alignment allows.
struct GgufLayout {
  std::string header;                 ///< all before the first tensor
  std::vector<std::uint64_t> begins;  ///< of each tensor, in the file
  std::uint64_t size = 0;             ///< of the file; what no tensor takes is zeros
};
/// Version 3, the bytes of gguf-py's writer. Throws as array_info() does; std::overflow_error beyond 2^62 bytes;
/// std::invalid_argument for a name given twice, with NUL or not UTF-8, and for a general.alignment that is no power
/// of two up to 2^24. (ggml itself, as most build it, reads names of up to 63 bytes.)
GgufLayout gguf_layout(const GgufMetadata&, std::span<const GgufTensor>);

/// Writes a file in one pass and constant memory: the tensors' bytes in their order, in pieces of any size.
class GgufWriter {
 public:
  /// Throws where OutputFile and gguf_layout() do.
  GgufWriter(const std::string& path, Overwrite, const GgufMetadata&, std::span<const GgufTensor>);
  /// Throws std::logic_error beyond the declared bytes.
  void append(std::span<const std::byte>);
  /// Throws std::logic_error where bytes are missing. Without it there is no file.
  void finish();

 private:
  void pad_to(std::uint64_t offset);

  GgufLayout layout_;
  std::vector<std::uint64_t> sizes_;
  std::size_t current_ = 0;  ///< the tensor whose bytes come next
  std::uint64_t remaining_ = 0;
  OutputFile out_;
};

}  // namespace nvfp4::io
