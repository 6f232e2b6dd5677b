# What nvcc makes of the kernels: with STEELYARD_CUDA the CUDA backend of steelyard_compute; wherever there is an nvcc, PTX
# for the tests. nvcc is called directly: CMake 3.25 does not know its flag for C++20. No warning passes.
set(STEELYARD_CUDA_ARCHITECTURES 75 80 86 89 90 100 120 CACHE STRING "compute capabilities, times 10, to compile kernels for")
set(steelyard_oldest_cuda 12.8)
if(STEELYARD_CUDA)
  find_package(CUDAToolkit ${steelyard_oldest_cuda} REQUIRED)
else()
  find_package(CUDAToolkit ${steelyard_oldest_cuda} QUIET)
endif()
if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE)
  set(STEELYARD_NVCC ${CUDAToolkit_NVCC_EXECUTABLE} -std=c++20 --expt-relaxed-constexpr -Werror all-warnings -I${PROJECT_SOURCE_DIR}/src)
  find_program(STEELYARD_PTXAS ptxas HINTS ${CUDAToolkit_BIN_DIR} REQUIRED)
else()
  set(STEELYARD_NVCC)
  message(STATUS "no nvcc of CUDA ${steelyard_oldest_cuda} or later: kernels are tested as the host's compiler builds them, not as PTX")
endif()

# steelyard_kernel_flags(<variable> <source>): encoders and error feedback round every product and sum by itself, as the
# host's do.
function(steelyard_kernel_flags variable source)
  set(${variable} "" PARENT_SCOPE)
  if(source MATCHES "/(encode_[a-z0-9_]+|ldlq)\\.cu$")
    set(${variable} -fmad=false PARENT_SCOPE)
  endif()
endfunction()

# steelyard_cuda_targets(<variable>): nvcc's flags for STEELYARD_CUDA_ARCHITECTURES. Kernels know two kinds of devices,
# without and with tensor cores for bfloat16 and int8, so they are compiled to PTX twice, of which all machine code is
# assembled. PTX of the second kind goes in too, for devices to come.
function(steelyard_cuda_targets variable)
  set(codes_75)
  set(codes_80)
  set(targets)
  foreach(architecture ${STEELYARD_CUDA_ARCHITECTURES})
    if(architecture LESS 80)
      list(APPEND codes_75 sm_${architecture})
    else()
      list(APPEND codes_80 sm_${architecture})
    endif()
  endforeach()
  list(APPEND codes_80 compute_80)
  foreach(kind 75 80)
    if(codes_${kind})
      list(JOIN codes_${kind} "," codes)
      list(APPEND targets -gencode "arch=compute_${kind},code=[${codes}]")
    endif()
  endforeach()
  set(${variable} ${targets} PARENT_SCOPE)
endfunction()

# Adds the backend to steelyard_compute; nothing without STEELYARD_CUDA.
function(steelyard_cuda_library)
  if(NOT STEELYARD_CUDA)
    return()
  endif()
  steelyard_cuda_targets(targets)
  steelyard_cuda_kernels(kernels 2)
  steelyard_cuda_encoders(encoders)
  foreach(source ${kernels} ${encoders})
    get_filename_component(name ${source} NAME)
    set(object ${PROJECT_BINARY_DIR}/cuda/${name}.o)
    steelyard_kernel_flags(flags ${source})
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${STEELYARD_NVCC} -O3 -Xcompiler=-fPIC ${flags} ${targets} -MD -MF ${object}.d -c ${source} -o ${object}
      DEPENDS ${source}
      DEPFILE ${object}.d
      COMMENT "Kernels of ${name}"
      VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  add_library(steelyard_cuda STATIC ${STEELYARD_CUDA_HOST_SOURCES} ${objects})
  steelyard_installed_library(cuda)
  target_include_directories(steelyard_cuda PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(steelyard_cuda PUBLIC steelyard_formats CUDA::cudart_static CUDA::cublas
    PRIVATE $<BUILD_INTERFACE:steelyard_warnings>)
  target_compile_definitions(steelyard_compute PRIVATE STEELYARD_WITH_CUDA)
  target_link_libraries(steelyard_compute PUBLIC steelyard_cuda)
endfunction()

# Target cuda_targets, which is not built by default: all kernels for all architectures, without a warning, and what
# ptxas says of their resources (make cuda-targets reads that).
function(steelyard_cuda_resources)
  if(NOT STEELYARD_NVCC)
    return()
  endif()
  steelyard_cuda_targets(targets)
  steelyard_cuda_kernels(kernels 2)
  steelyard_cuda_encoders(encoders)
  set(folder ${PROJECT_BINARY_DIR}/cuda_targets)
  file(MAKE_DIRECTORY ${folder})
  set(logs)
  foreach(source ${kernels} ${encoders})
    get_filename_component(name ${source} NAME)
    set(log ${folder}/${name}.log)
    set(code ${folder}/${name}.fatbin)
    steelyard_kernel_flags(flags ${source})
    add_custom_command(
      OUTPUT ${log}
      COMMAND ${CMAKE_COMMAND} -E rm -f ${code}
      COMMAND ${STEELYARD_NVCC} -O3 ${flags} ${targets} -Xptxas -v -MD -MF ${log}.d -MT ${log} -fatbin ${source} -o ${code} > ${log}.new 2>&1 || cat ${log}.new
      COMMAND test -s ${code}
      COMMAND ${CMAKE_COMMAND} -E rename ${log}.new ${log}
      DEPENDS ${source}
      DEPFILE ${log}.d
      COMMENT "${name} for all devices"
      VERBATIM)
    list(APPEND logs ${log})
  endforeach()
  add_custom_target(cuda_targets DEPENDS ${logs})
endfunction()

# steelyard_ptx(<target> <variable> <architecture> <source>...): a target that compiles kernels to PTX, and that to
# machine code, both without a warning; the PTX files' names, none without nvcc.
function(steelyard_ptx target variable architecture)
  set(files)
  if(STEELYARD_NVCC)
    set(folder ${PROJECT_BINARY_DIR}/ptx/sm_${architecture})
    file(MAKE_DIRECTORY ${folder})
    set(cubins)
    foreach(source ${ARGN})
      get_filename_component(name ${source} NAME_WE)
      set(ptx ${folder}/${name}.ptx)
      set(cubin ${folder}/${name}.cubin)
      steelyard_kernel_flags(flags ${source})
      add_custom_command(
        OUTPUT ${ptx}
        COMMAND ${STEELYARD_NVCC} ${flags} -arch=compute_${architecture} -I${PROJECT_SOURCE_DIR}/tests -MD -MF ${ptx}.d -ptx ${source} -o ${ptx}
        DEPENDS ${source}
        DEPFILE ${ptx}.d
        COMMENT "PTX of ${name} for sm_${architecture}")
      add_custom_command(
        OUTPUT ${cubin}
        COMMAND ${STEELYARD_PTXAS} -arch=sm_${architecture} -Werror ${ptx} -o ${cubin}
        DEPENDS ${ptx}
        COMMENT "Machine code of ${name} for sm_${architecture}")
      list(APPEND files ${ptx})
      list(APPEND cubins ${cubin})
    endforeach()
    add_custom_target(${target} ALL DEPENDS ${cubins})
  endif()
  set(${variable} ${files} PARENT_SCOPE)
endfunction()
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/cuda)
