#include "checkpoint.hpp"

#include <algorithm>
#include <array>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "gguf_metadata.hpp"

namespace nvfp4 {
namespace fs = std::filesystem;
using io::FileError;
namespace {

constexpr std::string_view index_ending = ".safetensors.index.json";
constexpr std::uint64_t document_limit = std::uint64_t{64} << 20;

std::string read_document(const std::string& path) {
  const io::Bytes bytes = io::read_bytes(path, document_limit);
  if (bytes.size() > document_limit)
    throw FileError(path, "file", "JSON of at most 64 MiB", std::to_string(bytes.size()) + " bytes");
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Shard by shard, the tensors that each is to hold; both in the order of their names.
std::map<std::string, std::vector<std::string>> shards_of(const std::string& index) {
  const nlohmann::json json = nlohmann::json::parse(read_document(index), nullptr, false);
  const auto refuse = [&](std::string_view place, std::string_view expected) {
    throw FileError(index, place, expected, "something else");
  };
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    refuse("file", "JSON with an object 'weight_map'");
  std::map<std::string, std::vector<std::string>> shards;
  for (const auto& [tensor, shard] : json["weight_map"].items()) {
    if (!shard.is_string()) refuse("weight_map '" + tensor + "'", "the name of a shard");
    const auto name = shard.get<std::string>();
    if (name.empty() || name.find('/') != std::string::npos)
      refuse("weight_map '" + tensor + "'", "a file beside it");
    shards[name].push_back(tensor);
  }
  if (shards.empty()) refuse("weight_map", "a tensor");
  return shards;
}

std::vector<fs::path> files_in(const std::string& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->is_regular_file(error)) files.push_back(it->path());
  if (error) throw FileError(folder, "folder", "one that can be read", error.message());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> ending_in(std::string_view ending, const std::vector<fs::path>& files) {
  std::vector<std::string> paths;
  for (const fs::path& file : files)
    if (file.string().ends_with(ending)) paths.push_back(file.string());
  return paths;
}

}  // namespace

bool is_document(std::string_view name) {
  constexpr std::array<std::string_view, 5> names{"config", "hf_quant_config", "quantization_config",
                                                  "nvfp4_provenance", "_quantization_metadata"};
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::int64_t elements(const Shape& shape) {
  std::int64_t n = 1;
  for (const std::int64_t extent : shape) n *= extent;
  return n;
}

Shape with_last(Shape shape, std::int64_t last) {
  shape.back() = last;
  return shape;
}

Checkpoint::Checkpoint(const std::string& path) : path_(path) {
  std::error_code ignored;
  if (path != "-" && fs::is_directory(path, ignored))
    open_folder();
  else if (path.ends_with(index_ending))
    open_index(path);
  else
    open_file(path);
}

void Checkpoint::open_folder() {
  is_folder_ = true;
  const std::vector<fs::path> files = files_in(path_);
  const auto indexes = ending_in(index_ending, files);
  const auto shards = ending_in(".safetensors", files), ggufs = ending_in(".gguf", files);
  if (indexes.size() > 1 || (shards.empty() && ggufs.size() > 1))
    throw FileError(path_, "folder", "one checkpoint",
                    std::to_string(std::max(indexes.size(), ggufs.size())) + " of them");
  if (indexes.empty() && shards.empty() && ggufs.empty())
    throw FileError(path_, "folder", "a .safetensors or .gguf file", "none");
  if (!indexes.empty())
    open_index(indexes[0]);
  else
    for (const std::string& shard : shards.empty() ? ggufs : shards) open_file(shard);

  for (const fs::path& file : files) {
    const std::string stem = file.stem().string(), text = file.string();
    if (file.extension() == ".json" && is_document(stem))
      documents_[stem] = read_document(text);
    else if (!text.ends_with(".safetensors") && !text.ends_with(".gguf") && !text.ends_with(index_ending))
      companions_.push_back(text);
  }
}

void Checkpoint::open_index(const std::string& path) {
  const fs::path folder = fs::path(path).parent_path();
  for (const auto& [shard, tensors] : shards_of(path)) {
    const std::string at = (folder / shard).string();
    if (!fs::exists(at)) {
      faults_.push_back("shard '" + shard + "' of " + std::to_string(tensors.size()) + " tensors is missing");
      continue;
    }
    open_file(at);
    for (const std::string& tensor : tensors)
      if (!files_.back().arrays->contains(tensor))
        faults_.push_back("tensor '" + tensor + "' is not in shard '" + shard + "'");
    for (const std::string& tensor : files_.back().arrays->names())
      if (!std::binary_search(tensors.begin(), tensors.end(), tensor))
        faults_.push_back("tensor '" + tensor + "' of shard '" + shard + "' is not in the index");
  }
}

void Checkpoint::open_bytes(io::Bytes bytes, const std::string& path) {
  auto arrays = io::open_arrays(bytes, path);
  if (arrays->container() != "safetensors" && arrays->container() != "gguf")
    throw FileError(path, "file", "a .safetensors or .gguf checkpoint", arrays->container());
  files_.push_back({path, fs::path(path).filename().string(), std::move(bytes), std::move(arrays)});
  take_tensors(files_.size() - 1);
}

void Checkpoint::take_tensors(std::size_t file) {
  const io::ArrayFile& arrays = *files_[file].arrays;
  if (const auto* safetensors = dynamic_cast<const io::Safetensors*>(&arrays))
    for (const auto& [key, text] : safetensors->metadata())
      (is_document(key) ? documents_ : metadata_)[key] = text;
  const auto* gguf = dynamic_cast<const io::Gguf*>(&arrays);
  if (gguf) take_gguf_metadata(gguf->metadata(), documents_, metadata_);
  for (const std::string& name : arrays.names()) {
    const io::ArrayInfo info = arrays.info(name);
    if (!places_.emplace(name, tensors_.size()).second)
      throw FileError(files_[file].path, "tensor '" + name + "'", "a name that no other shard has",
                      "one of " + files_[tensors_[places_.at(name)].file].name);
    tensors_.push_back({info, arrays.block_type(name), gguf ? gguf->tensor(name).shape : info.shape, file});
  }
}

const Tensor* Checkpoint::find(std::string_view name) const {
  const auto it = places_.find(name);
  return it == places_.end() ? nullptr : &tensors_[it->second];
}

const Tensor& Checkpoint::at(std::string_view name) const {
  if (const Tensor* tensor = find(name)) return *tensor;
  throw FileError(path_, "tensors", "'" + std::string(name) + "'", "none of that name");
}

bool Checkpoint::holds(std::string_view name, io::ElementType type, const Shape& shape) const {
  const Tensor* t = find(name);
  return t && t->block_type.empty() && t->info.type == type && t->shape == shape;
}

io::Array Checkpoint::numbers(const Tensor& t) const {
  if (t.block_type.empty()) return read(t);
  const auto& gguf = dynamic_cast<const io::Gguf&>(*files_[t.file].arrays);
  Matrix values = io::gguf_values(gguf, t.info.name);
  return {{t.info.name, io::ElementType::f32, t.shape}, io::Bytes(std::move(values.bytes)), gguf.file()};
}

void Checkpoint::require_whole() const {
  if (!faults_.empty()) throw FileError(path_, "index", "what the shards hold", faults_.front());
}

}  // namespace nvfp4
