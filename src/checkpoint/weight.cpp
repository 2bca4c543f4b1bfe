#include "weight.hpp"

namespace nvfp4 {

SecondScale inverted(const SecondScale& scale) {
  SecondScale other{scale.use == ScaleUse::divides ? ScaleUse::multiplies : ScaleUse::divides, scale.values};
  for (float& value : other.values) value = 1 / value;
  return other;
}

SecondScale as(ScaleUse use, const SecondScale& scale) { return scale.use == use ? scale : inverted(scale); }

std::string module_of(const std::string& weight) {
  const std::size_t dot = weight.rfind('.');
  return dot == std::string::npos ? weight : weight.substr(0, dot);
}

}  // namespace nvfp4
