using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Assertions on what a call returned.</summary>
internal static class Expect
{
    /// <summary>The call succeeded; gives its result.</summary>
    public static long Ok(long result)
    {
        Assert.True(result >= 0, $"expected success, got {Native.ErrnoOf(result)}");
        return result;
    }

    /// <summary>The call succeeded; gives the descriptor.</summary>
    public static int Fd(long result) => (int)Ok(result);

    /// <summary>The call failed with this error.</summary>
    public static void Fails(Errno expected, long result) =>
        Assert.True(Native.ErrnoOf(result) == expected, $"expected {expected}, got {(result < 0 ? Native.ErrnoOf(result) : $"success ({result})")}");

    /// <summary>The mode whose octal digits are the decimal digits of the argument: <c>Octal(4755)</c> is <c>04755</c>.</summary>
    public static uint Octal(int digits) => Convert.ToUInt32(digits.ToString(System.Globalization.CultureInfo.InvariantCulture), 8);
}
