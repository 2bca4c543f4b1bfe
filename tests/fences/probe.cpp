#include "probe.hpp"

namespace {
float multiply_add(float a, float b, float c) { return a * b + c; }
float add_subtract(float a, float b) { return (a + b) - b; }
float divide_by_3(float a) { return a / 3.0f; }
float add_zero(float a) { return a + 0.0f; }
float halve(float a) { return a * 0.5f; }
bool is_nan(float a) { return a != a; }
}  // namespace

const Probe probe{multiply_add, add_subtract, divide_by_3, add_zero, halve, is_nan};
