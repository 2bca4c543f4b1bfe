#include "container.hpp"

#include <algorithm>
#include <stdexcept>

#include "gguf_metadata.hpp"

namespace nvfp4 {
namespace {

[[noreturn]] void refuse(const Tensor& t, const std::string& why) {
  throw std::invalid_argument("tensor '" + t.info.name + "': " + why);
}

TensorGroup widened(const Checkpoint& c, const Tensor& t) {
  return {{{{t.info.name, io::ElementType::f32, t.shape}}}, byte_size(t.info), [&c, &t] {
            return std::vector{c.numbers(t).bytes};
          }};
}

FileLayout safetensors_layout(std::span<const OutputTensor> tensors, const io::Metadata& metadata) {
  std::vector<io::ArrayInfo> infos;
  for (const OutputTensor& t : tensors) infos.push_back(t.info);
  FileLayout layout;
  layout.header = io::safetensors_header(infos, metadata);
  layout.size = layout.header.size();
  for (const io::ArrayInfo& info : infos) {
    layout.begins.push_back(layout.size);
    layout.size += byte_size(info);
  }
  return layout;
}

FileLayout gguf_file_layout(std::span<const OutputTensor> tensors, const io::Metadata& metadata) {
  std::vector<io::GgufTensor> all;
  for (const OutputTensor& t : tensors) all.push_back({t.info.name, std::string(gguf_type_of(t)), t.shape});
  io::GgufLayout layout = io::gguf_layout(gguf_metadata(metadata), all);
  return {std::move(layout.header), std::move(layout.begins), layout.size};
}

}  // namespace

std::string_view gguf_type_of(const OutputTensor& t) {
  if (!t.block_type.empty()) return t.block_type;
  const auto types = io::gguf_types();
  const auto found =
      std::ranges::find_if(types, [&](const io::GgufType& type) { return type.plain == t.info.type; });
  return found == types.end() ? std::string_view{} : found->name;
}

TensorGroup kept_in(std::string_view container, const Checkpoint& c, const Tensor& t, bool widen) {
  TensorGroup as_it_is = copied(c, t);
  if (container == "gguf") {
    if (gguf_type_of(as_it_is.tensors[0]).empty()) refuse(t, "GGUF has no type " + std::string(t.type()));
    if (t.shape.size() > 4) refuse(t, "GGUF has 4 dimensions at most");
    return as_it_is;
  }
  if (t.block_type.empty()) return as_it_is;
  if (!io::has_gguf_values(t.block_type)) refuse(t, "safetensors has no type " + std::string(t.type()));
  if (!widen) refuse(t, "safetensors has no type " + std::string(t.type()) + ": --widen makes it float32");
  return widened(c, t);
}

FileLayout file_layout(std::string_view container, std::span<const OutputTensor> tensors,
                       const io::Metadata& metadata) {
  return container == "gguf" ? gguf_file_layout(tensors, metadata) : safetensors_layout(tensors, metadata);
}

}  // namespace nvfp4
