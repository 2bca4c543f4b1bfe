#pragma once
#include <map>
#include <string>
#include <vector>

#include <nvfp4/io/array.hpp>

namespace nvfp4::io {

using Metadata = std::map<std::string, std::string>;

/// https://github.com/huggingface/safetensors, "Format": 8 bytes length, JSON header, tensors without
/// holes or overlaps. Header of 100 MB at most. Tensors are views of the mapped file where it aligns them.
class Safetensors final : public ArrayFile {
 public:
  Safetensors(Bytes, std::string file);
  explicit Safetensors(const std::string& path) : Safetensors(read_bytes(path), path) {}

  const std::vector<ArrayInfo>& tensors() const { return tensors_; }  ///< in the order of their bytes
  const Metadata& metadata() const { return metadata_; }

  std::vector<std::string> names() const override;
  bool contains(std::string_view name) const override { return places_.contains(name); }
  ArrayInfo info(std::string_view name) const override;
  Array read(std::string_view name) const override;
  std::string_view container() const override { return "safetensors"; }

 private:
  struct Place {
    std::size_t index, offset, size;
  };
  const Place& place(std::string_view name) const;

  Bytes bytes_;
  std::vector<ArrayInfo> tensors_;
  std::map<std::string, Place, std::less<>> places_;
  Metadata metadata_;
};

/// All before the first tensor's bytes, the 8 of the length included; the tensors follow one another without a gap.
/// Throws std::invalid_argument for a name given twice, a name that is reserved or not UTF-8, a negative dimension;
/// std::overflow_error as byte_size().
std::string safetensors_header(std::span<const ArrayInfo>, const Metadata& = {});

/// Writes a checkpoint in one pass and constant memory: all tensors are declared first, then their bytes
/// appended in that order, in pieces of any size. Declare wide elements before narrow ones to keep every
/// tensor aligned.
class SafetensorsWriter {
 public:
  /// Throws where OutputFile and safetensors_header() do.
  SafetensorsWriter(const std::string& path, Overwrite, std::vector<ArrayInfo>, const Metadata& = {});
  /// Throws std::logic_error beyond the declared bytes.
  void append(std::span<const std::byte>);
  /// Throws std::logic_error where bytes are missing. Without it there is no file.
  void finish();

 private:
  OutputFile out_;
  std::uint64_t remaining_ = 0;
};

}  // namespace nvfp4::io
