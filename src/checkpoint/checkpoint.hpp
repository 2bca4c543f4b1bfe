#pragma once
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <nvfp4/io.hpp>

namespace nvfp4 {

using Shape = std::vector<std::int64_t>;

/// JSON texts beside the tensors, by name: "config" is config.json of a folder, and metadata entry "config" of one file.
using Documents = std::map<std::string, std::string>;
/// Which names are documents; any other file of a folder is copied as it is.
bool is_document(std::string_view name);

/// A tensor, whichever of the checkpoint's files has it.
struct Tensor {
  io::ArrayInfo info;
  std::string_view block_type;  ///< ArrayFile::block_type()
  Shape shape;                  ///< of elements; info.shape where there are no blocks
  std::size_t file = 0;

  /// The file's word: "BF16", "Q4_1".
  std::string_view type() const { return block_type.empty() ? io::info(info.type).safetensors : block_type; }
};

struct CheckpointFile {
  std::string path, name;
  io::Bytes bytes;
  std::unique_ptr<io::ArrayFile> arrays;
};

/// A checkpoint open for reading: one .safetensors or .gguf file ("-" is stdin), an index of shards, or a folder of
/// either. Tensors are read when asked for.
class Checkpoint {
 public:
  /// Throws io::FileError.
  explicit Checkpoint(const std::string& path);
  /// One file that was read already.
  Checkpoint(io::Bytes file, const std::string& path) : path_(path) { open_bytes(std::move(file), path); }

  const std::string& path() const { return path_; }
  bool is_folder() const { return is_folder_; }
  const std::vector<CheckpointFile>& files() const { return files_; }
  const std::vector<Tensor>& tensors() const {
    return tensors_;
  }  ///< file by file, in the order of their bytes
  const Tensor* find(std::string_view name) const;
  /// Throws io::FileError where there is none.
  const Tensor& at(std::string_view name) const;
  /// One of that name, type and shape, without blocks.
  bool holds(std::string_view name, io::ElementType type, const Shape& shape) const;
  io::Array read(std::string_view name) const { return read(at(name)); }
  io::Array read(const Tensor& t) const { return files_[t.file].arrays->read(t.info.name); }

  /// FP32 where blocks of ggml's that are not this library's own are decoded, as ggml does; any other tensor as it is.
  /// Throws io::FileError for a type whose blocks are not decoded here.
  io::Array numbers(const Tensor&) const;

  const Documents& documents() const { return documents_; }
  const io::Metadata& metadata() const {
    return metadata_;
  }  ///< of the files' headers, without the documents; of GGUF as take_gguf_metadata() has it
  /// Paths of a folder's other files: a tokenizer and the like.
  const std::vector<std::string>& companions() const { return companions_; }
  /// What the index says and the shards do not hold, a line each. A command that needs the whole refuses them.
  const std::vector<std::string>& faults() const { return faults_; }
  void require_whole() const;

 private:
  void open_folder();
  void open_index(const std::string& path);
  void open_file(const std::string& path) { open_bytes(io::read_bytes(path), path); }
  void open_bytes(io::Bytes, const std::string& path);
  void take_tensors(std::size_t file);

  std::string path_;
  bool is_folder_ = false;
  std::vector<CheckpointFile> files_;
  std::vector<Tensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> places_;
  Documents documents_;
  io::Metadata metadata_;
  std::vector<std::string> companions_, faults_;
};

std::int64_t elements(const Shape&);
/// The shape with another last dimension.
Shape with_last(Shape, std::int64_t last);

}  // namespace nvfp4
