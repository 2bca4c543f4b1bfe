#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <nvfp4/checkpoint.hpp>
#include <nvfp4/io.hpp>

#include "src/checkpoint/convention.hpp"
#include "src/checkpoint/gguf_metadata.hpp"
#include "tests/scratch.hpp"
#include "tests/tensor_file.hpp"

/// Checkpoints that tests make, and what they hold.
namespace made {

using namespace nvfp4;
using io::ElementType;
using io::Overwrite;
using nlohmann::ordered_json;
using scratch::rejection;
using Names = std::vector<std::string>;

/// A tensor of a file that a test makes.
struct Made {
  io::ArrayInfo info;
  std::string bytes;
};

inline std::string numbers(std::initializer_list<float> values) {
  std::string bytes;
  for (const float value : values) bytes += scratch::le(value);
  return bytes;
}

inline std::string noise(std::int64_t size, int least = 0, int most = 255) {
  static std::mt19937 generator(20250214);
  std::string bytes;
  for (std::int64_t i = 0; i < size; ++i)
    bytes += static_cast<char>(static_cast<std::uint32_t>(least) +
                               generator() % static_cast<std::uint32_t>(most - least + 1));
  return bytes;
}

inline Made tensor(const std::string& name, ElementType type, Shape shape, int most = 255) {
  io::ArrayInfo info{name, type, std::move(shape)};
  std::string bytes = noise(static_cast<std::int64_t>(byte_size(info)), 0, most);
  return {std::move(info), std::move(bytes)};
}

inline Made floats(const std::string& name, Shape shape, std::initializer_list<float> values) {
  return {{name, ElementType::f32, std::move(shape)}, numbers(values)};
}

inline void write(const std::string& path, const std::vector<Made>& tensors,
                  const io::Metadata& metadata = {}) {
  scratch::write_tensors(path, tensors, metadata);
}

inline std::string text_of(const io::Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// "NAME TYPE AxB", sorted.
inline Names tensors_of(const std::string& path) {
  const Checkpoint c(path);
  Names lines;
  for (const Tensor& t : c.tensors()) {
    std::string shape;
    for (const std::int64_t extent : t.shape) shape += (shape.empty() ? "" : "x") + std::to_string(extent);
    lines.push_back(t.info.name + " " + std::string(t.type()) + " " + (shape.empty() ? "scalar" : shape));
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

inline ordered_json document(const std::string& path, const std::string& name) {
  const Checkpoint c(path);
  return ordered_json::parse(c.documents().at(name));
}

inline std::string ending(const Convention& c) { return c.file == "gguf" ? ".gguf" : ".safetensors"; }

/// A weight of every kind that checkpoints have; scales that all decode to numbers.
inline StoredWeight example(const std::string& name, Format scale, Shape shape, ScaleUse use) {
  StoredWeight s{.weight = {.name = name, .shape = std::move(shape), .scale = scale}};
  const Weight& w = s.weight;
  const std::string codes = noise(elements(w.shape) / 2),
                    scales = noise(elements(w.shape) / w.block(), 1, 0x7E);
  s.codes = scratch::bytes(codes), s.scales = scratch::bytes(scales);
  if (scale == Format::e8m0) return s;
  s.weight.second = s.weight.input = use;
  s.second = SecondScale{use, {}}, s.input = SecondScale{use, {}};
  for (std::int64_t expert = 0; expert < w.experts(); ++expert) {
    s.second->values.push_back(0.37f + static_cast<float>(expert));
    s.input->values.push_back(1.7f + static_cast<float>(expert));
  }
  return s;
}

/// As the convention stores them, with all that declares it.
inline void write(const std::string& path, const Convention& c, const std::vector<StoredWeight>& weights) {
  std::vector<Made> tensors;
  std::vector<io::GgufTensor> blocks;
  Description description;
  for (const StoredWeight& s : weights) {
    const std::vector<OutputTensor> parts = c.parts(s.weight);
    const std::vector<io::Bytes> bytes = c.store(s);
    REQUIRE(parts.size() == bytes.size());
    for (std::size_t i = 0; i < parts.size(); ++i) {
      REQUIRE(byte_size(parts[i].info) == bytes[i].size());
      tensors.push_back({parts[i].info, text_of(bytes[i])});
      blocks.push_back({parts[i].info.name,
                        std::string(parts[i].block_type.empty() ? "F32" : parts[i].block_type),
                        parts[i].shape});
    }
    description.weights.push_back(s.weight);
  }
  Documents documents;
  io::Metadata metadata;
  c.declare(description, documents, metadata);
  metadata.merge(documents);
  if (c.file == "safetensors") return write(path, tensors, metadata);
  io::GgufWriter writer(path, Overwrite::yes, gguf_metadata(metadata), blocks);
  for (const Made& t : tensors) writer.append(std::as_bytes(std::span(t.bytes)));
  writer.finish();
}

inline void check_same(const StoredWeight& a, const StoredWeight& b) {
  CHECK(a.weight.name == b.weight.name);
  CHECK(a.weight.shape == b.weight.shape);
  CHECK(a.weight.scale == b.weight.scale);
  CHECK((text_of(a.codes) == text_of(b.codes)));
  CHECK((text_of(a.scales) == text_of(b.scales)));
}

inline std::vector<StoredWeight> weights_of(const std::string& path) {
  const Checkpoint c(path);
  std::vector<StoredWeight> all;
  const OwnWeights own = own_weights(c);
  REQUIRE(own.convention);
  for (const Weight& w : own.weights) all.push_back(own.convention->load(c, w));
  return all;
}

/// Every kind of weight that is no obstacle to the convention.
inline std::vector<StoredWeight> examples(const Convention& c) {
  std::vector<StoredWeight> all{example("a.weight", Format::ue4m3, {5, 128}, c.use),
                                example("b.weight", Format::e8m0, {3, 64}, c.use),
                                example("m.experts.up", Format::ue4m3, {2, 3, 64}, c.use),
                                example("m.experts.down", Format::e8m0, {2, 3, 64}, c.use)};
  std::erase_if(all, [&](const StoredWeight& s) { return !c.obstacle(s.weight).empty(); });
  return all;
}

/// One NVFP4 weight as ModelOpt has it, and tensors beside it.
inline std::vector<Made> modelopt_tensors() {
  return {floats("p.q.weight_scale_2", {}, {0.37f}),
          floats("p.q.input_scale", {}, {1.7f}),
          tensor("p.lm_head.weight", ElementType::bf16, {2, 16}),
          tensor("p.q.bias", ElementType::bf16, {3}),
          tensor("p.q.weight", ElementType::u8, {3, 32}),
          tensor("p.q.weight_scale", ElementType::f8_e4m3, {3, 4}, 0x7E)};
}

struct Example {
  const scratch::Folder folder;
  const std::string in = folder / "in.safetensors", out = folder / "out.safetensors";

  explicit Example(const std::vector<Made>& tensors = modelopt_tensors(), const io::Metadata& metadata = {}) {
    write(in, tensors, metadata);
  }
  CheckpointSummary to(const std::string& format, const Names& drop = {}, bool widen = false) const {
    return convert_checkpoint(in, {out, Overwrite::yes}, {format, drop, widen});
  }
  std::string refusal(const std::string& format, const Names& drop = {}) const {
    const std::string message = rejection([&] { to(format, drop); });
    return message.starts_with(in + ": ") ? message.substr(in.size() + 2) : message;
  }
};

}  // namespace made
