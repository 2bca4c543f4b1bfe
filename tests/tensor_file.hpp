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
  void write(const std::string& path) const {
    std::vector<nvfp4::io::ArrayInfo> infos;
    for (const One& one : all) infos.push_back(one.info);
    nvfp4::io::SafetensorsWriter writer(path, nvfp4::io::Overwrite::yes, infos, metadata);
    for (const One& one : all) writer.append(std::as_bytes(std::span(one.bytes)));
    writer.finish();
  }

  std::vector<One> all;
  nvfp4::io::Metadata metadata;
};

}  // namespace scratch
