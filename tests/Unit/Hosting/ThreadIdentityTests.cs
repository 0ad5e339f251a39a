using EphemeralFs.Interop;

namespace EphemeralFs.Tests.Unit.Hosting;

/// <summary>Who a thread is, from the texts of /proc.</summary>
public sealed class ThreadIdentityTests
{
    private const string Status = "Name:\tUid: 7\nUid:\t1000\t1000\t1000\t201000\nGid:\t5\t5\t5\t200005\nGroups:\t200007 44 \nCapEff:\t0000000000000008\n";
    private const string Map = "         0     200000      65536\n     70000          0          1\n";

    [Fact]
    public void Ids_are_those_of_the_file_system_and_of_both_namespaces()
    {
        var identity = ThreadIdentity.Parse(Status, isInOurNamespace: false, () => Map, () => Map)!;
        Assert.Equal((201000u, 1000u), (identity.User, identity.MappedUser));
        Assert.All(new uint[] { 200005, 5, 200007, 7, 44 }, group => Assert.True(identity.IsInGroup(group)));
        Assert.False(identity.IsInGroup(6));
        Assert.True(identity.MayActAsOwner);
        Assert.False(identity.IsAdministrator);
    }

    [Fact]
    public void An_id_that_a_namespace_does_not_have_is_nobody_there()
    {
        var identity = ThreadIdentity.Parse(Status, isInOurNamespace: false, () => "0 300000 65536\n", () => "")!;
        Assert.Equal((201000u, 65534u), (identity.User, identity.MappedUser));
    }

    [Fact]
    public void In_our_namespace_no_map_is_read_and_capabilities_count()
    {
        static string Never() => throw new InvalidOperationException("read");
        var identity = ThreadIdentity.Parse(Status.Replace("08\n", "00200000\n", StringComparison.Ordinal), isInOurNamespace: true, Never, Never)!;
        Assert.Equal(identity.User, identity.MappedUser);
        Assert.True(identity.IsAdministrator);
        Assert.False(identity.MayActAsOwner);
    }

    [Theory]
    [InlineData("")]
    [InlineData("Uid:\t1\t1\t1\nGid:\t1\t1\t1\t1\n")]
    [InlineData("Uid:\t1\t1\t1\t-1\n")]
    public void Half_a_text_is_nobody(string status) => Assert.Null(ThreadIdentity.Parse(status, true, () => "", () => ""));

    [Fact]
    public void This_process_is_in_its_own_namespace()
    {
        Assert.True(ThreadIdentity.Of(Environment.ProcessId)!.IsInOurNamespace);
        Assert.Null(ThreadIdentity.Of(int.MaxValue));
    }
}
