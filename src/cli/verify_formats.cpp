#include <algorithm>

#include <nvfp4/compare.hpp>

#include "embedded_values.hpp"
#include "number.hpp"
#include "verify.hpp"

namespace nvfp4::cli {
namespace {

/// Codes that the reference gives.
struct Encoded {
  Encoding encoding;
  const std::vector<float>* values;
  std::vector<std::uint32_t> codes{};
};

/// Values that the reference gives.
struct Decoded {
  Format format;
  std::vector<std::uint32_t> codes;
  Matrix values;
};

void add_encodings(Format format, const std::vector<float>& values, std::vector<Encoded>& encoded) {
  for (std::size_t r = 0; r < std::size(rounding_names); ++r)
    for (const Overflow overflow : {Overflow::saturate, Overflow::special})
      for (std::size_t t = 0; t < std::size(target_names); ++t)
        encoded.push_back({{format, static_cast<Rounding>(r), overflow, static_cast<Target>(t)}, &values});
}

std::vector<float> inputs_of(Format format, bool full) {
  std::vector<float> values = boundary_values(format);
  if (full) {
    const std::vector<float> more = bf16_values();
    values.insert(values.end(), more.begin(), more.end());
  }
  return values;
}

Decoded decode_all(Format format) {
  Decoded d{format, codes_of(format), {}};
  d.values = Matrix(1, static_cast<std::int64_t>(d.codes.size()));
  reference_kernels().decode(d.codes, format, {d.values.f32(), d.codes.size()});
  return d;
}

std::string describe(const Encoding& e) {
  return "encode to " + std::string(info(e.format).name) + " " + std::string(name(e.rounding)) +
         (e.overflow == Overflow::saturate ? ", saturating, " : ", not saturating, ") +
         std::string(name(e.target));
}

void hold(const Encoded& e, const Kernels& kernels, Tally& tally) {
  std::vector<std::uint32_t> codes(e.codes.size());
  kernels.encode(*e.values, e.encoding, codes);
  std::int64_t differing = 0;
  for (std::size_t i = 0; i < codes.size(); ++i) differing += codes[i] != e.codes[i];
  tally.count(differing, [&](Json& json, std::string& text) {
    const auto at = static_cast<std::size_t>(
        std::mismatch(codes.begin(), codes.end(), e.codes.begin()).first - codes.begin());
    const std::string value = shortest((*e.values)[at]);
    json.update(
        {{"case", describe(e.encoding)}, {"value", value}, {"expected", e.codes[at]}, {"actual", codes[at]}});
    text += describe(e.encoding) + ": of " + value + " expected " + hex8(e.codes[at]) + ", found " +
            hex8(codes[at]);
  });
}

void hold(const Decoded& d, const Kernels& kernels, Tally& tally) {
  Matrix actual(1, d.values.cols);
  kernels.decode(d.codes, d.format, {actual.f32(), d.codes.size()});
  const Difference difference =
      compare(d.values.view(), actual.view(), "decode " + std::string(info(d.format).name));
  tally.count(difference.bytes, [&](Json& json, std::string& text) {
    json["case"] = difference.first->array;
    text += describe(*difference.first);
  });
}

}  // namespace

void verify_formats(const std::vector<Layer>& layers, Verification& v) {
  std::vector<std::vector<float>> inputs;
  std::vector<Encoded> encoded;
  std::vector<Decoded> decoded;
  for (const FormatInfo& format : formats()) inputs.push_back(inputs_of(format.format, v.full));
  for (const FormatInfo& format : formats()) {
    add_encodings(format.format, inputs[static_cast<std::size_t>(format.format)], encoded);
    decoded.push_back(decode_all(format.format));
  }
  parallel_for(encoded.size(), [&](std::size_t i) {
    encoded[i].codes.resize(encoded[i].values->size());
    reference_kernels().encode(*encoded[i].values, encoded[i].encoding, encoded[i].codes);
  });
  for (const Layer& layer : layers) {
    Tally tally(v, "formats", layer);
    if (!layer.kernels) {
      tally.not_run(encoded.size() + decoded.size());
      continue;
    }
    for (const Encoded& e : encoded) hold(e, *layer.kernels, tally);
    for (const Decoded& d : decoded) hold(d, *layer.kernels, tally);
  }
}

}  // namespace nvfp4::cli
