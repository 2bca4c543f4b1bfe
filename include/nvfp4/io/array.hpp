#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/io/bytes.hpp>
#include <nvfp4/io/output.hpp>

namespace nvfp4::io {

/// What the files of the field hold. Safetensors knows all of them, NumPy those with a descr.
enum class ElementType : std::uint8_t {
  boolean,
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  u64,
  i64,
  f16,
  bf16,
  f32,
  f64,
  c64,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  f6_e2m3,
  f6_e3m2,
  f4,
};

struct ElementInfo {
  ElementType type;
  std::string_view safetensors;  ///< "F32"
  std::string_view npy;          ///< "<f4"; empty where NumPy has no such type
  std::string_view numpy;        ///< "float32", for messages
  int bits;
};
const ElementInfo& info(ElementType);

struct ArrayInfo {
  std::string name;
  ElementType type = ElementType::u8;
  std::vector<std::int64_t> shape;
};

/// Elements times width. Throws std::overflow_error beyond 2^60 bytes, std::invalid_argument for a negative
/// dimension or a size that ends inside a byte (F4, F6).
std::uint64_t byte_size(const ArrayInfo&);

/// An array that was read: row-major (Fortran order is transposed), little-endian, aligned to its element.
struct Array {
  ArrayInfo info;
  Bytes bytes;
  std::string file;

  /// The elements. Throws FileError where the type is another or the shape not `shape`.
  std::span<const std::uint8_t> u8(std::span<const std::int64_t> shape) const;
  std::span<const std::uint32_t> u32(std::span<const std::int64_t> shape) const;
  std::span<const float> f32(std::span<const std::int64_t> shape) const;
  /// Throws FileError naming this array.
  [[noreturn]] void refuse(std::string_view expected, std::string_view found) const;
};

/// The arrays of one file; each is read when asked for. A .npy holds one array, its name is "".
class ArrayFile {
 public:
  virtual ~ArrayFile() = default;
  const std::string& file() const { return file_; }
  virtual std::vector<std::string> names() const = 0;  ///< in the order of the file
  virtual bool contains(std::string_view name) const = 0;
  virtual ArrayInfo info(std::string_view name) const = 0;  ///< reads no elements
  virtual Array read(std::string_view name) const = 0;
  /// "npy", "npz", "safetensors", "gguf"
  virtual std::string_view container() const = 0;
  /// GGUF's name of the type where the elements lie in packed blocks: the array is then its bytes, u8
  /// (..., bytes of a row). Else "".
  virtual std::string_view block_type([[maybe_unused]] std::string_view name) const { return {}; }

 protected:
  explicit ArrayFile(std::string file) : file_(std::move(file)) {}
  [[noreturn]] void refuse_name(std::string_view name) const;
  std::string file_;
};

/// The container is told by its first bytes, not by its name. Throws FileError, as do all members.
std::unique_ptr<ArrayFile> open_arrays(const std::string& path);
std::unique_ptr<ArrayFile> open_arrays(Bytes, std::string file);

/// An array to be written: row-major, little-endian, byte_size(info) bytes.
struct ArrayView {
  ArrayInfo info;
  std::span<const std::byte> bytes;
};

/// stored: the file depends on nothing but the arrays. deflated: smaller, but zlib's version decides its
/// bytes (not what they inflate to); members under 256 bytes are stored all the same.
enum class Compression : std::uint8_t { stored, deflated };

/// NumPy's own bytes, version 1.0, aligned to 64. A type that NumPy lacks is written as unsigned bits.
void write_npy(const std::string& path, const ArrayView&, Overwrite);
/// Entries dated 1980-01-01, in the order given; zip64 where it is needed.
void write_npz(const std::string& path, std::span<const ArrayView>, Overwrite,
               Compression = Compression::stored);
/// Wide elements first, so that all are aligned.
void write_safetensors(const std::string& path, std::span<const ArrayView>, Overwrite);
/// By the ending of `path`: .npz or .safetensors; "-" is .npz. Throws FileError for another ending.
void write_arrays(const std::string& path, std::span<const ArrayView>, Overwrite);

}  // namespace nvfp4::io
