#pragma once
#include <cmath>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include <nvfp4/io.hpp>

#include "tests/scratch.hpp"

/// A small model by the Hub's names, of normal deviates.
namespace layered {

struct Matrix {
  std::string name;
  std::int64_t rows, cols;
};

constexpr int layers = 4;

inline std::vector<Matrix> matrices() {
  std::vector<Matrix> all{{"model.embed_tokens.weight", 64, 256}, {"lm_head.weight", 64, 256}};
  for (int i = 0; i < layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    for (const char* name : {"q_proj", "k_proj", "v_proj"})
      all.push_back({layer + "self_attn." + name + ".weight", 256, 256});
    for (const char* name : {"gate_proj", "up_proj"})
      all.push_back({layer + "mlp." + name + ".weight", 384, 256});
    all.push_back({layer + "mlp.down_proj.weight", 160, 192});  // whose scales' tiles have padding
  }
  return all;
}

/// How much rows and columns differ: standard deviations of the logarithm of their factors. Columns of siblings, which
/// read one input, have one factor.
struct Spread {
  double rows = 0, columns = 0;
};

inline void write(const std::string& path, const Spread& spread = {}) {
  std::vector<nvfp4::io::ArrayInfo> infos;
  for (const Matrix& m : matrices()) infos.push_back({m.name, nvfp4::io::ElementType::f32, {m.rows, m.cols}});
  infos.push_back({"model.norm.weight", nvfp4::io::ElementType::f32, {256}});
  nvfp4::io::SafetensorsWriter writer(path, nvfp4::io::Overwrite::no, infos, {{"format", "pt"}});
  std::mt19937 random(20261126);
  std::normal_distribution<double> normal;
  std::vector<double> column(256);
  for (double& c : column) c = std::exp(spread.columns * normal(random));
  for (const Matrix& m : matrices()) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < m.rows; ++i) {
      const double row = 0.02 * std::exp(spread.rows * normal(random));
      for (std::int64_t j = 0; j < m.cols; ++j)
        values.push_back(static_cast<float>(normal(random) * row * column[static_cast<std::size_t>(j)]));
    }
    writer.append(std::as_bytes(std::span(values)));
  }
  const std::vector<float> norm(256, 1);
  writer.append(std::as_bytes(std::span(norm)));
  writer.finish();
}

}  // namespace layered
