#include <nvfp4.h>
#include <stdio.h>

int main(void) {
  const float x[16] = {0.5f, -1, 6};
  const nvfp4_matrix input = {x, 1, 16, NVFP4_FP32};
  nvfp4_tensor* tensor;
  float square;
  if (nvfp4_quantize(&input, NULL, &tensor) != NVFP4_OK) return puts(nvfp4_message()), 1;
  if (nvfp4_gemm(tensor, tensor, NULL, &square, 1) != NVFP4_OK) return puts(nvfp4_message()), 1;
  printf("nvfp4 %s: scale 0x%02X, |x|^2 %g\n", nvfp4_version(), (unsigned)nvfp4_scales(tensor, NULL)[0],
         square);
  nvfp4_free(tensor);
  return 0;
}
