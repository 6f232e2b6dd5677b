# The CUDA backend's sources. What runs on the host is C++ for the host's compiler.
file(GLOB STEELYARD_CUDA_HOST_SOURCES CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/compute/cuda/*.cc)

# steelyard_cuda_kernels(<variable> <types per file>): kernels, whoever compiles them: nvcc for devices, the host's compiler
# for the emulator (tests/cuda_emulator). Those of products are instantiated for each type of formats.def, so many types to
# a file: few where files are compiled side by side, many where their headers weigh.
function(steelyard_cuda_kernels variable types_per_file)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/compute/cuda/*.cu)
  file(STRINGS ${PROJECT_SOURCE_DIR}/src/formats/formats.def lines REGEX "^FORMAT\\(")
  set(n 0)
  list(LENGTH lines n_types)
  foreach(line ${lines})
    string(REGEX REPLACE "^FORMAT\\(([A-Z0-9_]+),.*" "\\1" name ${line})
    string(TOLOWER ${name} file)
    if(NOT EXISTS ${PROJECT_SOURCE_DIR}/src/formats/${file}.h)
      set(file integer)
    endif()
    string(APPEND includes "#include \"formats/${file}.h\"\n")
    string(APPEND instances "STEELYARD_PRODUCTS(${name})\n")
    math(EXPR n "${n} + 1")
    math(EXPR rest "${n} % ${types_per_file}")
    if(rest EQUAL 0 OR n EQUAL n_types)
      set(path ${PROJECT_BINARY_DIR}/cuda/products.${types_per_file}.${n}.cu)
      file(CONFIGURE OUTPUT ${path} CONTENT
        "#include \"compute/cuda/product_kernels.cuh\"\n${includes}namespace steelyard::cuda {\n${instances}}\n")
      list(APPEND sources ${path})
      set(includes "")
      set(instances "")
    endif()
  endforeach()
  set(${variable} ${sources} PARENT_SCOPE)
endfunction()
