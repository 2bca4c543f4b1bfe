#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <nvfp4/io.hpp>

namespace scratch {

inline std::span<const std::byte> bytes_of(const nvfp4::io::Bytes& bytes) { return bytes.view(); }
inline std::span<const std::byte> bytes_of(const auto& values) { return std::as_bytes(std::span(values)); }

/// A .safetensors file of whatever has an `info` and `bytes`.
template <class Tensors>
void write_tensors(const std::string& path, const Tensors& tensors,
                   const nvfp4::io::Metadata& metadata = {}) {
  std::vector<nvfp4::io::ArrayInfo> infos;
  for (const auto& t : tensors) infos.push_back(t.info);
  nvfp4::io::SafetensorsWriter writer(path, nvfp4::io::Overwrite::yes, infos, metadata);
  for (const auto& t : tensors) writer.append(bytes_of(t.bytes));
  writer.finish();
}

/// A .safetensors file in memory, to be harmed.
class TensorFile {
 public:
  struct One {
    nvfp4::io::ArrayInfo info;
    std::vector<std::uint8_t> bytes;
  };

  explicit TensorFile(const std::string& path) {
    const nvfp4::io::Safetensors file(path);
    metadata = file.metadata();
    for (const auto& info : file.tensors()) {
      const auto view = file.read(info.name).bytes;
      const auto* first = reinterpret_cast<const std::uint8_t*>(view.data());
      all.push_back({info, {first, first + view.size()}});
    }
  }

  One& at(const std::string& name) {
    for (One& one : all)
      if (one.info.name == name) return one;
    throw std::runtime_error("no tensor " + name);
  }
  float number(const std::string& name) {
    float value;
    std::memcpy(&value, at(name).bytes.data(), sizeof value);
    return value;
  }
  void set(const std::string& name, float value) { std::memcpy(at(name).bytes.data(), &value, sizeof value); }
  void erase(const std::string& name) {
    std::erase_if(all, [&](const One& one) { return one.info.name == name; });
  }
  void write(const std::string& path) const { write_tensors(path, all, metadata); }

  std::vector<One> all;
  nvfp4::io::Metadata metadata;
};

}  // namespace scratch
