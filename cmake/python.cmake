# The Python module, where pybind11 is there: build/python/steelyard, to be used with PYTHONPATH=build/python, and what
# `pip install .` installs. The compiled part lies in lib/, so that plans are found in ../share/steelyard as with the program.
# A module for another processor has no Python here, and one with AddressSanitizer is not loaded by a Python without it.
if(STEELYARD_PYTHON STREQUAL AUTO AND (CMAKE_CROSSCOMPILING OR STEELYARD_SANITIZE))
  return()
endif()
# Debian's pybind11 and pytest are those of Debian's Python, whichever other comes first in PATH.
if(STEELYARD_PYTHON STREQUAL AUTO AND NOT Python3_EXECUTABLE AND EXISTS /usr/bin/python3)
  set(Python3_EXECUTABLE /usr/bin/python3)
endif()
find_package(Python3 COMPONENTS Interpreter Development.Module QUIET)
find_package(pybind11 CONFIG QUIET)
if(STEELYARD_PYTHON STREQUAL AUTO AND NOT (pybind11_FOUND AND Python3_Development.Module_FOUND))
  return()
endif()
find_package(pybind11 CONFIG REQUIRED)

pybind11_add_module(steelyard_python NO_EXTRAS python/module.cc)
target_link_libraries(steelyard_python PRIVATE steelyard_jobs steelyard_warnings)
target_compile_definitions(steelyard_python PRIVATE STEELYARD_VERSION="${PROJECT_VERSION}")
set_target_properties(steelyard_python PROPERTIES OUTPUT_NAME _core
  LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/python/steelyard/lib)
foreach(file __init__.py __init__.pyi py.typed)
  configure_file(python/steelyard/${file} ${PROJECT_BINARY_DIR}/python/steelyard/${file} COPYONLY)
endforeach()
foreach(folder plans calibration)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/python/steelyard/share/steelyard)
  file(CREATE_LINK ${PROJECT_SOURCE_DIR}/${folder} ${PROJECT_BINARY_DIR}/python/steelyard/share/steelyard/${folder} SYMBOLIC)
endforeach()

install(TARGETS steelyard_python DESTINATION steelyard/lib COMPONENT python EXCLUDE_FROM_ALL)
install(DIRECTORY plans DESTINATION steelyard/share/steelyard COMPONENT python EXCLUDE_FROM_ALL)
install(FILES calibration/default.txt DESTINATION steelyard/share/steelyard/calibration COMPONENT python EXCLUDE_FROM_ALL)
