#include <nvfp4/version.hpp>

#include "arguments.hpp"

namespace {

namespace nb = nanobind;
using nvfp4::python::Threads;

void set_num_threads(int count) {
  if (count < 0)
    throw std::invalid_argument("num_threads: expected 0 (all) or more, found " + std::to_string(count));
  Threads::set_default(count);
}

nb::list devices() {
  nb::list all;
  for (const char* device : {"cpu", "reference", "gpu"})
    if (nvfp4::python::has_device(device)) all.append(device);
  return all;
}

}  // namespace

NB_MODULE(_nvfp4, m) {
  nb::set_leak_warnings(false);  // recipes that are cached until the interpreter ends are no fault
  m.attr("__version__") = NVFP4_VERSION;
  m.def("set_num_threads", &set_num_threads, nb::arg("count"));
  m.def("get_num_threads", &Threads::by_default);
  m.def("devices", &devices);
  nvfp4::python::bind_tensor(m);
  nvfp4::python::bind_products(m);
  nvfp4::python::bind_mma(m);
  nvfp4::python::bind_recipes(m);
  nvfp4::python::bind_tables(m);
  nvfp4::python::bind_checks(m);
  nvfp4::python::bind_bounds(m);
  nvfp4::python::bind_training(m);
}
