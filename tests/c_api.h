#pragma once
/* What c_api.c, compiled as C, tries. Each returns NULL, or the line that did not hold. */
#ifdef __cplusplus
extern "C" {
#endif

const char* c_quantizes_and_dequantizes(void);
const char* c_options_reach_the_bytes(void);
const char* c_four_over_six(void);
const char* c_rounds_stochastically(void);
const char* c_multiplies(void);
const char* c_compares(void);
const char* c_reads_device_memory(void);
const char* c_takes_bytes(void);
const char* c_refuses(void);

#ifdef __cplusplus
}
#endif
