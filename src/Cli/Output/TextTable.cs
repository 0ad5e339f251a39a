namespace EphemeralFs.Cli.Output;

/// <summary>Columns for people: as wide as their content, two blanks between.</summary>
internal sealed class TextTable(params string[] heading)
{
    private readonly List<string[]> _rows = [];

    public void Add(params string[] cells) => _rows.Add(cells);

    /// <summary>Writes the heading and the rows; nothing when there are no rows and <paramref name="whenEmpty"/> is null.</summary>
    public void Write(TextWriter output, string? whenEmpty = null)
    {
        if (_rows.Count == 0)
        {
            if (whenEmpty is not null)
            {
                output.WriteLine(whenEmpty);
            }

            return;
        }

        var widths = heading.Select((h, i) => Math.Max(h.Length, _rows.Max(row => row[i].Length))).ToArray();
        foreach (var row in _rows.Prepend(heading))
        {
            output.WriteLine(string.Join("  ", row.Select((cell, i) => cell.PadRight(widths[i]))).TrimEnd());
        }
    }
}
