using System.Globalization;

namespace EphemeralFs.Core;

/// <summary>Sizes as people write them: <c>512</c>, <c>64K</c>, <c>256M</c>, <c>2G</c>, <c>1T</c> (powers of 1024; <c>KiB</c>, <c>Ki</c>, <c>MB</c> … accepted).</summary>
public static class ByteSize
{
    /// <summary>Parses a size in bytes. False when the text is no size or exceeds 2^63−1.</summary>
    public static bool TryParse(string? text, out long bytes)
    {
        bytes = 0;
        text = text?.Trim();
        if (string.IsNullOrEmpty(text))
        {
            return false;
        }

        var digits = text.TakeWhile(char.IsAsciiDigit).Count();
        var unit = text[digits..].Trim().ToUpperInvariant();
        if (unit.Length > 1)
        {
            unit = unit.TrimEnd('B').TrimEnd('I');
        }

        var shift = unit switch { "" or "B" => 0, "K" => 10, "M" => 20, "G" => 30, "T" => 40, "P" => 50, _ => -1 };
        if (digits == 0 || shift < 0 || !long.TryParse(text[..digits], NumberStyles.None, CultureInfo.InvariantCulture, out var number)
            || number > (long.MaxValue >> shift))
        {
            return false;
        }

        bytes = number << shift;
        return true;
    }

    /// <summary>A size for people: <c>1.5 GiB</c>.</summary>
    public static string Format(long bytes)
    {
        string[] units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        double value = bytes;
        var unit = 0;
        while (Math.Abs(value) >= 1024 && unit < units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return unit == 0
            ? $"{bytes} B"
            : string.Create(CultureInfo.InvariantCulture, $"{value:0.#} {units[unit]}");
    }
}
