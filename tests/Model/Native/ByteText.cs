using System.Globalization;
using System.Text;

namespace EphemeralFs.Tests.Model.Native;

/// <summary>
/// Names are bytes. Here they travel as strings of characters 0–255, one character per byte, so that any name can be
/// compared, sorted, printed and written as JSON.
/// </summary>
public static class ByteText
{
    /// <summary>An ordinary path (UTF-8 for the kernel) as byte text.</summary>
    public static string FromText(string text) => Encoding.Latin1.GetString(Encoding.UTF8.GetBytes(text));

    /// <summary>Byte text as the zero-terminated bytes that libc takes.</summary>
    public static byte[] ToBytes(string byteText)
    {
        var bytes = new byte[byteText.Length + 1];
        Encoding.Latin1.GetBytes(byteText, bytes);
        return bytes;
    }

    /// <summary>Byte text for people: unprintable bytes escaped, long names shortened with their length.</summary>
    public static string Show(string byteText)
    {
        var shown = new StringBuilder();
        foreach (char c in byteText)
        {
            if (c is >= ' ' and < (char)127 and not '\\')
            {
                shown.Append(c);
            }
            else
            {
                shown.Append(CultureInfo.InvariantCulture, $"\\x{(int)c:x2}");
            }
        }
        return shown.Length <= 120 ? shown.ToString() : $"{shown.ToString(0, 100)}…({byteText.Length} bytes)";
    }
}
