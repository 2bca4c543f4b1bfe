#pragma once

/// Arithmetic whose result changes where the compiler takes a licence with it. Each function is one
/// expression of its arguments, compiled under the flags on trial.
struct Probe {
  float (*multiply_add)(float a, float b, float c);  ///< a * b + c
  float (*add_subtract)(float a, float b);           ///< (a + b) - b
  float (*divide_by_3)(float a);                     ///< a / 3
  float (*add_zero)(float a);                        ///< a + 0
  float (*halve)(float a);                           ///< a * 0.5
  bool (*is_nan)(float a);                           ///< a != a
};

extern const Probe probe;
