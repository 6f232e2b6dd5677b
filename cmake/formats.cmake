# The types of src/formats/formats.def.

# steelyard_formats(<names> <files>): their names in order, and for each the stem of its file in src/formats.
function(steelyard_formats names files)
  file(STRINGS ${PROJECT_SOURCE_DIR}/src/formats/formats.def lines REGEX "^FORMAT\\(")
  set(own_names)
  set(own_files)
  foreach(line ${lines})
    string(REGEX REPLACE "^FORMAT\\(([A-Z0-9_]+),.*" "\\1" name ${line})
    string(TOLOWER ${name} file)
    if(NOT EXISTS ${PROJECT_SOURCE_DIR}/src/formats/${file}.h)
      set(file integer)
    endif()
    list(APPEND own_names ${name})
    list(APPEND own_files ${file})
  endforeach()
  set(${names} ${own_names} PARENT_SCOPE)
  set(${files} ${own_files} PARENT_SCOPE)
endfunction()

# formats/all.h: the headers of all types, for loops that are instantiated for each.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/formats/formats.def)
steelyard_formats(names files)
list(REMOVE_DUPLICATES files)
list(TRANSFORM files REPLACE "(.+)" "#include \"formats/\\1.h\"\n")
string(JOIN "" includes ${files})
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/generated/formats/all.h CONTENT "#pragma once\n\n${includes}")
