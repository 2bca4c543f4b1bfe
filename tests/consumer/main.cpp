#include <cstdio>
#include <nvfp4/nvfp4.hpp>

int main() {
  nvfp4::Matrix x(2, 32);
  for (int i = 0; i < 64; ++i) x.f32()[i] = 0.3f * static_cast<float>(i - 20);
  const auto expected = nvfp4::reference_kernels().quantize(x.view(), {}, {});
  const auto actual = nvfp4::cpu_kernels().quantize(x.view(), {}, {});
  const auto difference = nvfp4::compare(expected, actual);
  std::printf("%zu bytes of codes, %lld differing bytes\n", actual.codes.size(),
              static_cast<long long>(difference.bytes));
  return !difference.equal();
}
