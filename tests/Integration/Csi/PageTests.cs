using EphemeralFs.CsiDriver.Csi;
using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Service;
using VolumeStatus = EphemeralFs.Rpc.Messages.VolumeStatus;

namespace EphemeralFs.Tests.Integration.Csi;

/// <summary>Lists in parts.</summary>
public sealed class PageTests
{
    private static readonly VolumeStatus[] s_all = [.. Enumerable.Range(0, 40_000).Select(i => new VolumeStatus((uint)i, $"pvc-{i:d60}", "", 0, 0, 0, 0, 0))];

    [Theory]
    [InlineData(0)]
    [InlineData(int.MaxValue)]
    public void A_page_fits_a_message_whatever_is_asked_for(int maxEntries)
    {
        var names = new List<string>();
        string token = "";
        int pages = 0;
        do
        {
            var page = Page.Of(s_all, maxEntries, token, Describe);
            var message = new ListVolumesResponse { NextToken = page.NextToken, Entries = { page.Entries } };
            Assert.InRange(message.CalculateSize(), 1, 4 << 20); // what gRPC receives unless told otherwise
            names.AddRange(page.Entries.Select(entry => entry.Volume.VolumeId));
            token = page.NextToken;
            pages++;
        }
        while (token.Length > 0);
        Assert.Equal(s_all.Select(volume => volume.Name), names);
        Assert.True(pages > 1);
    }

    [Fact]
    public void What_comes_and_goes_between_pages_neither_repeats_nor_hides_others()
    {
        var first = Page.Of(s_all[..10], 4, "", Describe);
        Assert.Equal(4, first.Entries.Count);

        // The one that the next page was to begin with is gone, and another one has come before it.
        var changed = s_all[..10].Where(volume => volume.Id != 4).Append(new VolumeStatus(99, "a-new-one", "", 0, 0, 0, 0, 0)).OrderBy(volume => volume.Name, StringComparer.Ordinal);
        var rest = Page.Of(changed, 0, first.NextToken, Describe);
        Assert.Equal(s_all[5..10].Select(volume => volume.Name), rest.Entries.Select(entry => entry.Volume.VolumeId));
        Assert.Equal("", rest.NextToken);
    }

    [Fact]
    public void A_token_that_was_not_given_is_refused() =>
        Assert.Equal(GrpcStatusCode.Aborted, Assert.Throws<GrpcException>(() => Page.Of(s_all, 1, "5", Describe)).Code);

    private static ListVolumesResponse.Types.Entry Describe(VolumeStatus volume) => new() { Volume = new() { VolumeId = volume.Name } };
}
