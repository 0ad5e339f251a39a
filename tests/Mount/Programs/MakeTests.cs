using System.Globalization;
using System.Text;

namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>make -j of a generated C project: many compilers at once, dependencies by modification time.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class MakeTests(VolumeFixture volume)
{
    private const int Units = 120;

    private const string Makefile = """
        OBJECTS := $(patsubst src/%.c,build/%.o,$(wildcard src/*.c))
        CFLAGS := -O0 -Iinclude -MMD -MP -frandom-seed=1

        build/program: build/main/main.o build/libunits.a
        	$(CC) -o $@ $^
        build/libunits.a: $(OBJECTS)
        	rm -f $@ && ar rcsD $@ $(sort $^)
        build/main/main.o: main.c | build/main
        	$(CC) $(CFLAGS) -c -o $@ $<
        build/%.o: src/%.c | build
        	$(CC) $(CFLAGS) -c -o $@ $<
        build build/main:
        	mkdir -p $@
        clean:
        	rm -rf build
        -include $(OBJECTS:.o=.d)
        """;

    [Fact]
    public void A_project_of_120_units_builds_the_same_in_parallel_and_only_what_changed()
    {
        Tool.Require("make", "gcc", "ar");
        using var sides = volume.NewSides("make");
        sides.Same(WriteProject);
        sides.SameScript(600, """
            make -j4 --no-print-directory 2>&1 | grep -c 'gcc\|cc -O0' || true
            ./build/program
            # Nothing changed: nothing is built.
            make -j4 --no-print-directory
            # One unit changed: two compilations are not needed.
            sleep 0.01; touch src/unit7.c
            make --no-print-directory | grep -c -- '-c -o'
            # A header that ten units include.
            touch include/group3.h
            make -j4 --no-print-directory | grep -c -- '-c -o'
            ./build/program
            make -q
            cp build/program kept
            make clean
            make -j4 --no-print-directory > /dev/null
            cmp build/program kept
            """);
    }

    private static void WriteProject(string directory)
    {
        Directory.CreateDirectory(Path.Combine(directory, "src"));
        Directory.CreateDirectory(Path.Combine(directory, "include"));
        File.WriteAllText(Path.Combine(directory, "Makefile"), Makefile);
        for (int group = 0; group < Units / 10; group++)
        {
            var header = new StringBuilder("#pragma once\n");
            for (int unit = group * 10; unit < group * 10 + 10; unit++)
            {
                header.Append(CultureInfo.InvariantCulture, $"unsigned unit{unit}(unsigned x);\n");
            }
            File.WriteAllText(Path.Combine(directory, $"include/group{group}.h"), header.ToString());
        }
        var main = new StringBuilder("#include <stdio.h>\n");
        for (int group = 0; group < Units / 10; group++)
        {
            main.Append(CultureInfo.InvariantCulture, $"#include \"group{group}.h\"\n");
        }
        main.Append("int main(void) { unsigned x = 1;\n");
        for (int unit = 0; unit < Units; unit++)
        {
            main.Append(CultureInfo.InvariantCulture, $"x = unit{unit}(x);\n");
            File.WriteAllText(Path.Combine(directory, $"src/unit{unit}.c"),
                $"#include \"group{unit / 10}.h\"\nstatic const unsigned table[] = {{ {string.Join(", ", Enumerable.Range(unit, 64))} }};\n" +
                $"unsigned unit{unit}(unsigned x) {{ for (int i = 0; i < 64; i++) x = x * 31u + table[(x + i) % 64]; return x ^ {unit}u; }}\n");
        }
        File.WriteAllText(Path.Combine(directory, "main.c"), main.Append("printf(\"%u\\n\", x); return 0; }\n").ToString());
    }
}
