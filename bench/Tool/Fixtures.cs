using System.Globalization;
using System.Text;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench;

/// <summary>The inputs of the program rows, made anew for each run and the same in every run.</summary>
internal static class Fixtures
{
    public const int Transactions = 200;
    private const int FilesPerDirectory = 10;

    /// <summary>Writes tree/, tree.tar, csource/, csource.expected and transactions.sql into an existing directory.</summary>
    /// <param name="directory">Outside of every measured system.</param>
    /// <param name="quick">A tenth of the files.</param>
    public static void Write(string directory, bool quick)
    {
        WriteTree(Path.Combine(directory, "tree"), quick ? 500 : 5000);
        Shell.Run($"cd '{directory}'\ntar -cf tree.tar tree", Path.Combine(directory, "output-fixtures"));
        WriteSources(directory, quick ? 10 : 100);
        WriteTransactions(Path.Combine(directory, "transactions.sql"));
    }

    /// <summary>Files of 200 bytes to 16 KiB, a few of 100 KiB, ten to a directory, three levels deep: the shape of a source tree.</summary>
    private static void WriteTree(string root, int files)
    {
#pragma warning disable CA5394 // Not for security: the same tree in every run.
        var random = new Random(5000);
        for (int i = 0; i < files; i++)
        {
            int directory = i / FilesPerDirectory;
            string path = Path.Combine(root, Number(directory / 100), Number(directory / 10 % 10), Number(directory % 10));
            Directory.CreateDirectory(path);
            double skew = random.NextDouble();
            byte[] content = new byte[i % 100 == 0 ? 100 << 10 : 200 + (int)(skew * skew * skew * (16 << 10))];
            for (int at = 0; at < content.Length; at++)
            {
                content[at] = (byte)(random.Next(8) == 0 ? '\n' : 'a' + random.Next(26));
            }

            File.WriteAllBytes(Path.Combine(path, $"file{Number(i)}.txt"), content);
        }
#pragma warning restore CA5394
    }

    private static void WriteSources(string directory, int files)
    {
        string root = Path.Combine(directory, "csource");
        Directory.CreateDirectory(root);
        var header = new StringBuilder("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
        var main = new StringBuilder("#include \"all.h\"\nint main(void)\n{\n    long sum = 0;\n");
        long sum = 0;
        for (int i = 0; i < files; i++)
        {
            string name = $"part{Number(i)}";
            header.Append(CultureInfo.InvariantCulture, $"long {name}(long x);\n");
            main.Append(CultureInfo.InvariantCulture, $"    sum += {name}({i});\n");
            sum += (i * 3L) + i;
            File.WriteAllText(
                Path.Combine(root, name + ".c"),
                $"#include \"all.h\"\nlong {name}(long x)\n{{\n    char text[64];\n    snprintf(text, sizeof text, \"%ld\", x * 3);\n    return atol(text) + {i};\n}}\n");
        }

        main.Append("    printf(\"%ld\\n\", sum);\n    return 0;\n}\n");
        File.WriteAllText(Path.Combine(root, "all.h"), header.ToString());
        File.WriteAllText(Path.Combine(root, "main.c"), main.ToString());
        File.WriteAllText(
            Path.Combine(root, "Makefile"),
            "OBJECTS := $(patsubst %.c,%.o,$(wildcard *.c))\nprogram: $(OBJECTS)\n\tgcc -o $@ $(OBJECTS)\n%.o: %.c all.h\n\tgcc -O0 -c -o $@ $<\n");
        File.WriteAllText(Path.Combine(directory, "csource.expected"), sum.ToString(CultureInfo.InvariantCulture));
    }

    private static void WriteTransactions(string path)
    {
        var sql = new StringBuilder("CREATE TABLE entries (id INTEGER PRIMARY KEY, text TEXT);\n");
        for (int i = 0; i < Transactions; i++)
        {
            sql.Append(CultureInfo.InvariantCulture, $"BEGIN; INSERT INTO entries (text) VALUES ('entry {i}'); COMMIT;\n");
        }

        File.WriteAllText(path, sql.ToString());
    }

    private static string Number(int number) => number.ToString(CultureInfo.InvariantCulture);
}
