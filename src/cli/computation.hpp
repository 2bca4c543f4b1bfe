#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "verify.hpp"

namespace nvfp4::cli {

using Bytes = std::vector<std::byte>;

/// Something whose bytes are the same on every layer.
struct Computation {
  std::string name;
  std::function<Bytes(const Kernels&)> bytes;
  Bytes expected{};
};

template <class T>
void append(Bytes& bytes, std::span<const T> values) {
  const auto more = std::as_bytes(values);
  bytes.insert(bytes.end(), more.begin(), more.end());
}

/// Random words of a stream of their own, so that every layer has the same.
std::vector<std::uint32_t> words(std::size_t count, std::uint64_t seed, std::uint64_t stream);

/// BF16 numbers, most within twelve binades.
Matrix numbers(std::int64_t rows, std::int64_t cols, std::uint64_t seed, std::uint64_t stream);

/// Holds each of them against the reference.
void verify(const std::string& what, std::vector<Computation>, const std::vector<Layer>&, Verification&);

}  // namespace nvfp4::cli
